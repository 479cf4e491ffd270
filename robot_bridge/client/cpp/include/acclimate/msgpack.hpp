// The part of MessagePack that the protocol uses, bounded: nothing is taken from a length that the
// bytes behind it do not bear out, and every fault is a CodecError.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "acclimate/error.hpp"
#include "acclimate/text.hpp"

namespace acclimate {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t COUNT_MOST = std::uint64_t{1} << 62;
constexpr double NUMBER_MOST = 1e300;
constexpr long TEXT_MOST = 4096;
constexpr long NAME_MOST = 128;

class Writer {
public:
    explicit Writer(std::string where) : where_(std::move(where)) {}

    void map(std::size_t size) { head(0x80, 16, 0xDE, size); }
    void array(std::size_t size) { head(0x90, 16, 0xDC, size); }
    void nil() { bytes_.push_back(0xC0); }
    void boolean(bool value) { bytes_.push_back(value ? 0xC3 : 0xC2); }

    void count(std::uint64_t value) {
        if (value > COUNT_MOST) fail(std::to_string(value) + "; expected at most 2^62");
        if (value < 0x80) {
            bytes_.push_back(static_cast<std::uint8_t>(value));
        } else {
            tagged(0xCF, value, 8);
        }
    }

    void integer(std::int64_t value) { tagged(0xD3, static_cast<std::uint64_t>(value), 8); }

    void number(double value) {
        if (!(std::fabs(value) <= NUMBER_MOST)) fail(general(value) + "; expected a finite number");
        std::uint64_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        tagged(0xCB, bits, 8);
    }

    // least, most: in characters.
    void text(std::string_view value, long most = TEXT_MOST, long least = 0) {
        const long length = characters(value);
        if (length < least || length > most) {
            fail("text of " + std::to_string(length) + " characters (-1: not UTF-8); expected " +
                 std::to_string(least) + " to " + std::to_string(most));
        }
        if (value.size() < 32) {
            bytes_.push_back(static_cast<std::uint8_t>(0xA0 | value.size()));
        } else {
            tagged(0xDA, value.size(), 2);
        }
        bytes_.insert(bytes_.end(), value.begin(), value.end());
    }

    void name(std::string_view value) { text(value, NAME_MOST, 1); }
    void key(std::string_view value) { text(value); }
    const Bytes& bytes() const { return bytes_; }

private:
    void head(std::uint8_t small, std::size_t bound, std::uint8_t large, std::size_t size) {
        if (size > 0xFFFF) fail(std::to_string(size) + " entries; expected at most 65535");
        if (size < bound) {
            bytes_.push_back(static_cast<std::uint8_t>(small | size));
        } else {
            tagged(large, size, 2);
        }
    }

    void tagged(std::uint8_t tag, std::uint64_t value, int size) {
        bytes_.push_back(tag);
        for (int k = size - 1; k >= 0; --k) {
            bytes_.push_back(static_cast<std::uint8_t>(value >> (8 * k)));
        }
    }

    [[noreturn]] void fail(const std::string& text) const { throw CodecError(where_ + ": " + text); }

    std::string where_;
    Bytes bytes_;
};

class Reader {
public:
    // One entry of a struct: its key, whether it may be absent, and what reads its value.
    struct Slot {
        const char* key;
        bool required;
        std::function<void()> read;
    };

    Reader(std::string where, const Bytes& bytes)
        : where_(std::move(where)), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

    bool nil() {
        if (at_ == end_ || *at_ != 0xC0) return false;
        ++at_;
        return true;
    }

    bool boolean() {
        const std::uint8_t tag = byte();
        if (tag != 0xC2 && tag != 0xC3) fail("expected true or false");
        return tag == 0xC3;
    }

    std::int64_t integer() {
        const std::uint8_t tag = byte();
        if (tag < 0x80) return tag;
        if (tag >= 0xE0) return static_cast<std::int8_t>(tag);
        if (tag >= 0xCC && tag <= 0xCF) {
            const std::uint64_t value = big(1 << (tag - 0xCC));
            if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
                fail("an integer beyond 2^63 - 1");
            }
            return static_cast<std::int64_t>(value);
        }
        if (tag >= 0xD0 && tag <= 0xD3) {
            const int size = 1 << (tag - 0xD0);
            const std::uint64_t value = big(size);
            if (size == 8) return static_cast<std::int64_t>(value);
            const std::uint64_t sign = std::uint64_t{1} << (8 * size - 1);
            return static_cast<std::int64_t>((value ^ sign) - sign);
        }
        fail("expected an integer");
    }

    std::uint64_t count(std::uint64_t most = COUNT_MOST, std::uint64_t least = 0) {
        const std::int64_t value = integer();
        if (value < 0 || static_cast<std::uint64_t>(value) > most ||
            static_cast<std::uint64_t>(value) < least) {
            fail(std::to_string(value) + "; expected " + std::to_string(least) + " to " +
                 std::to_string(most));
        }
        return static_cast<std::uint64_t>(value);
    }

    // A finite float of at most 1e300 in size; an integer will do.
    double number() {
        const double value = real();
        if (!(std::fabs(value) <= NUMBER_MOST)) fail(general(value) + "; expected a finite number");
        return value;
    }

    double positive() {
        const double value = number();
        if (!(value > 0)) fail(general(value) + "; expected more than 0");
        return value;
    }

    std::string text(long most = std::numeric_limits<long>::max(), long least = 0) {
        const std::uint8_t tag = byte();
        std::uint64_t size = 0;
        if ((tag & 0xE0) == 0xA0) {
            size = tag & 0x1F;
        } else if (tag >= 0xD9 && tag <= 0xDB) {
            size = big(1 << (tag - 0xD9));
        } else {
            fail("expected text");
        }
        need(size);
        std::string value(reinterpret_cast<const char*>(at_), static_cast<std::size_t>(size));
        at_ += size;
        const long length = characters(value);
        if (length < 0) fail("text that is not UTF-8");
        if (length < least || length > most) {
            fail("text of " + std::to_string(length) + " characters; expected " +
                 std::to_string(least) + " to " + std::to_string(most));
        }
        return value;
    }

    std::string name() { return text(NAME_MOST, 1); }

    template <typename Read>
    void array(std::uint64_t most, Read read) {
        const std::uint8_t tag = byte();
        std::uint64_t size = 0;
        if ((tag & 0xF0) == 0x90) {
            size = tag & 0x0F;
        } else if (tag == 0xDC || tag == 0xDD) {
            size = big(tag == 0xDC ? 2 : 4);
        } else {
            fail("expected an array");
        }
        if (size > most) fail(std::to_string(size) + " entries; at most " + std::to_string(most));
        need(size);  // each has a byte at least
        for (; size > 0; --size) read();
    }

    // The size of a map that starts here.
    std::uint64_t map() {
        const std::uint8_t tag = byte();
        if ((tag & 0xF0) == 0x80) return tag & 0x0F;
        if (tag != 0xDE && tag != 0xDF) fail("expected a map");
        const std::uint64_t size = big(tag == 0xDE ? 2 : 4);
        need(2 * size);
        return size;
    }

    // A struct. lasting: keys that are not known here are passed over, and not refused.
    void structure(std::initializer_list<Slot> slots, bool lasting = false) {
        std::uint64_t seen = 0;
        for (std::uint64_t left = map(); left > 0; --left) {
            const std::string key = text();
            std::uint64_t bit = 1;
            bool known = false;
            for (const Slot& slot : slots) {
                if (key == slot.key) {
                    slot.read();
                    seen |= bit;
                    known = true;
                }
                bit <<= 1;
            }
            if (!known && !lasting) fail("unknown field '" + clipped(key, 64) + "'");
            if (!known) skip(32);
        }
        std::uint64_t bit = 1;
        for (const Slot& slot : slots) {
            if (slot.required && (seen & bit) == 0) fail("no field '" + std::string(slot.key) + "'");
            bit <<= 1;
        }
    }

    void finish() {
        if (at_ != end_) fail(std::to_string(end_ - at_) + " bytes too many");
    }

    [[noreturn]] void fail(const std::string& text) const { throw CodecError(where_ + ": " + text); }

private:
    double real() {
        if (at_ != end_ && *at_ == 0xCA) {
            ++at_;
            const auto bits = static_cast<std::uint32_t>(big(4));
            float value;
            std::memcpy(&value, &bits, sizeof value);
            return value;
        }
        if (at_ != end_ && *at_ == 0xCB) {
            ++at_;
            const std::uint64_t bits = big(8);
            double value;
            std::memcpy(&value, &bits, sizeof value);
            return value;
        }
        if (at_ != end_ && *at_ == 0xCF) {
            ++at_;
            return static_cast<double>(big(8));
        }
        return static_cast<double>(integer());
    }

    void skip(int depth) {
        if (depth == 0) fail("nested too deeply");
        const std::uint8_t tag = byte();
        std::uint64_t size = 0, entries = 0;
        if ((tag & 0xF0) == 0x80) {
            entries = 2 * (tag & 0x0F);
        } else if ((tag & 0xF0) == 0x90) {
            entries = tag & 0x0F;
        } else if ((tag & 0xE0) == 0xA0) {
            size = tag & 0x1F;
        } else if (tag == 0xC1) {
            fail("a byte that means nothing");
        } else if (tag >= 0xC4 && tag <= 0xC6) {
            size = big(1 << (tag - 0xC4));
        } else if (tag >= 0xC7 && tag <= 0xC9) {
            size = 1 + big(1 << (tag - 0xC7));
        } else if (tag == 0xCA || tag == 0xCB) {
            size = tag == 0xCA ? 4 : 8;
        } else if (tag >= 0xCC && tag <= 0xD3) {
            size = std::uint64_t{1} << ((tag - 0xCC) % 4);
        } else if (tag >= 0xD4 && tag <= 0xD8) {
            size = 1 + (std::uint64_t{1} << (tag - 0xD4));
        } else if (tag >= 0xD9 && tag <= 0xDB) {
            size = big(1 << (tag - 0xD9));
        } else if (tag == 0xDC || tag == 0xDD) {
            entries = big(tag == 0xDC ? 2 : 4);
        } else if (tag == 0xDE || tag == 0xDF) {
            entries = 2 * big(tag == 0xDE ? 2 : 4);
        }
        need(size);
        at_ += size;
        for (; entries > 0; --entries) skip(depth - 1);
    }

    void need(std::uint64_t size) const {
        if (size > static_cast<std::uint64_t>(end_ - at_)) fail("ends too early");
    }

    std::uint8_t byte() {
        need(1);
        return *at_++;
    }

    std::uint64_t big(int size) {
        need(static_cast<std::uint64_t>(size));
        std::uint64_t value = 0;
        for (int k = 0; k < size; ++k) value = value << 8 | *at_++;
        return value;
    }

    std::string where_;
    const std::uint8_t* at_;
    const std::uint8_t* end_;
};

}  // namespace acclimate
