// Frames: a header of 40 bytes, then numbers as they are or one MessagePack map.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "acclimate/error.hpp"
#include "acclimate/messages.hpp"
#include "acclimate/msgpack.hpp"

namespace acclimate {

constexpr std::size_t HEADER_BYTES = 40;
constexpr std::size_t SUMMED_BYTES = 36;  // of it: what comes before the checksum
constexpr std::size_t CONTROL_BYTES = 64 * 1024;
constexpr std::size_t RECORD_BYTES = 16 * 1024 * 1024;
constexpr std::size_t OBSERVATION_HEAD = 8;
constexpr std::size_t COMMAND_HEAD = 32;

// A frame whose header and checksum are right; the payload is still to be read.
struct Frame {
    Kind kind = Kind::BYE;
    std::uint16_t flags = 0;
    std::uint64_t session = 0;
    std::uint64_t sequence = 0;
    std::int64_t time_ns = 0;
    Bytes payload;
};

// CRC-32 as zlib has it, going on from `sum`.
inline std::uint32_t crc32(const std::uint8_t* data, std::size_t size, std::uint32_t sum = 0) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t k = 0; k < 256; ++k) {
            std::uint32_t value = k;
            for (int bit = 0; bit < 8; ++bit) {
                value = (value & 1) != 0 ? value >> 1 ^ 0xEDB88320U : value >> 1;
            }
            made[k] = value;
        }
        return made;
    }();
    sum = ~sum;
    for (std::size_t k = 0; k < size; ++k) sum = table[(sum ^ data[k]) & 0xFF] ^ sum >> 8;
    return ~sum;
}

namespace little {

inline void put(Bytes& bytes, std::uint64_t value, int size) {
    for (int k = 0; k < size; ++k) bytes.push_back(static_cast<std::uint8_t>(value >> (8 * k)));
}

inline std::uint64_t get(const std::uint8_t* at, int size) {
    std::uint64_t value = 0;
    for (int k = size - 1; k >= 0; --k) value = value << 8 | at[k];
    return value;
}

inline void put(Bytes& bytes, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    put(bytes, bits, 4);
}

inline void put(Bytes& bytes, const std::vector<float>& values) {
    for (const float value : values) put(bytes, value);
}

inline float get_float(const std::uint8_t* at) {
    const auto bits = static_cast<std::uint32_t>(get(at, 4));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace little

inline std::size_t most_bytes(Kind kind) {
    if (kind == Kind::EPISODE_RECORD || kind == Kind::STATUS) return RECORD_BYTES;
    return kind == Kind::BYE ? 0 : CONTROL_BYTES;
}

inline Bytes encode(const Frame& frame) {
    if (frame.payload.size() > most_bytes(frame.kind)) {
        throw CodecError(std::string(name_of(frame.kind)) + ": payload of " +
                         std::to_string(frame.payload.size()) + " bytes; at most " +
                         std::to_string(most_bytes(frame.kind)) + " are allowed");
    }
    Bytes bytes{'A', 'C', 'L', 'M', PROTOCOL, static_cast<std::uint8_t>(frame.kind)};
    bytes.reserve(HEADER_BYTES + frame.payload.size());
    little::put(bytes, frame.flags, 2);
    little::put(bytes, frame.session, 8);
    little::put(bytes, frame.sequence, 8);
    little::put(bytes, static_cast<std::uint64_t>(frame.time_ns), 8);
    little::put(bytes, frame.payload.size(), 4);
    const std::uint32_t head = crc32(bytes.data(), bytes.size());
    little::put(bytes, crc32(frame.payload.data(), frame.payload.size(), head), 4);
    bytes.insert(bytes.end(), frame.payload.begin(), frame.payload.end());
    return bytes;
}

// Check and open one frame. Throws CodecError naming the part of it that is wrong.
inline Frame decode(const std::uint8_t* data, std::size_t size) {
    if (size < HEADER_BYTES) {
        throw CodecError("frame of " + std::to_string(size) + " bytes; a header alone has 40");
    }
    if (std::memcmp(data, "ACLM", 4) != 0) throw CodecError("magic; expected ACLM");
    const std::uint8_t version = data[4], number = data[5];
    const bool lasting = number == static_cast<std::uint8_t>(Kind::HELLO) ||
                         number == static_cast<std::uint8_t>(Kind::REFUSED);
    if (version != PROTOCOL && !lasting) {
        throw CodecError("protocol version " + std::to_string(version) + "; expected " +
                         std::to_string(PROTOCOL));
    }
    if (number < 1 || number > KINDS) {
        throw CodecError("kind " + std::to_string(number) + "; expected 1 to 19");
    }
    Frame frame;
    frame.kind = static_cast<Kind>(number);
    const std::string name = name_of(frame.kind);
    const std::uint64_t length = little::get(data + 32, 4);
    if (length != size - HEADER_BYTES) {
        throw CodecError(name + ": payload length " + std::to_string(length) + "; " +
                         std::to_string(size - HEADER_BYTES) + " bytes follow");
    }
    if (length > most_bytes(frame.kind)) {
        throw CodecError(name + ": payload length " + std::to_string(length) + "; at most " +
                         std::to_string(most_bytes(frame.kind)));
    }
    const std::uint32_t head = crc32(data, SUMMED_BYTES);
    if (crc32(data + HEADER_BYTES, size - HEADER_BYTES, head) != little::get(data + 36, 4)) {
        throw CodecError(name + ": the checksum is not that of the bytes");
    }
    frame.flags = static_cast<std::uint16_t>(little::get(data + 6, 2));
    frame.session = little::get(data + 8, 8);
    frame.sequence = little::get(data + 16, 8);
    frame.time_ns = static_cast<std::int64_t>(little::get(data + 24, 8));
    frame.payload.assign(data + HEADER_BYTES, data + size);
    return frame;
}

inline Bytes encode(const Observation& observation, std::uint64_t session) {
    Frame frame;
    frame.kind = Kind::OBSERVATION;
    frame.flags = observation.flags;
    frame.session = session;
    frame.sequence = observation.sequence;
    frame.time_ns = observation.time_ns;
    little::put(frame.payload, observation.reward);
    little::put(frame.payload, observation.faults, 4);
    little::put(frame.payload, observation.values);
    return encode(frame);
}

// Any size and any float32; the client judges them.
inline Command decode_command(const Frame& frame) {
    if (frame.kind != Kind::COMMAND) {
        throw CodecError(std::string(name_of(frame.kind)) + ": expected COMMAND");
    }
    const std::size_t size = frame.payload.size();
    if (size < COMMAND_HEAD || (size - COMMAND_HEAD) % 4 != 0) {
        throw CodecError("COMMAND: payload of " + std::to_string(size) +
                         " bytes; expected 32 and four for each number");
    }
    const std::uint8_t* at = frame.payload.data();
    Command command;
    command.sequence = frame.sequence;
    command.validity_ns = static_cast<std::int64_t>(little::get(at, 8));
    command.received_ns = static_cast<std::int64_t>(little::get(at + 8, 8));
    command.sent_ns = static_cast<std::int64_t>(little::get(at + 16, 8));
    command.belief_version = static_cast<std::uint32_t>(little::get(at + 24, 4));
    if (at[28] > static_cast<std::uint8_t>(Mode::STOP)) {
        throw CodecError("COMMAND: mode " + std::to_string(at[28]) + "; expected 0 to 3");
    }
    command.mode = static_cast<Mode>(at[28]);
    if (command.validity_ns < 0) throw CodecError("COMMAND: validity below 0");
    if (at[29] > 1) {
        throw CodecError("COMMAND: shadow " + std::to_string(at[29]) + "; expected 0 or 1");
    }
    command.shadow = at[29] == 1;
    if (command.shadow && command.mode == Mode::TRACK) {
        throw CodecError("COMMAND: mode TRACK from a shadow; expected HOLD, DAMP or STOP");
    }
    if (frame.flags != 0 && frame.flags != flag::LAST) {
        throw CodecError("COMMAND: flags " + std::to_string(frame.flags) + "; expected 0 or 2");
    }
    command.values.reserve((size - COMMAND_HEAD) / 4);
    for (std::size_t k = COMMAND_HEAD; k < size; k += 4) {
        command.values.push_back(little::get_float(at + k));
    }
    return command;
}

}  // namespace acclimate
