// Text from both sides: bounded in characters, and UTF-8 or nothing.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace acclimate {

// Bytes of the character that starts at `at`; 0 where no UTF-8 character does (overlong forms,
// surrogates and what lies beyond U+10FFFF are none).
inline std::size_t character(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t k) -> unsigned {
        return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U;
    };
    const unsigned first = byte(at);
    if (first < 0x80) return 1;
    const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4) return 0;
    for (std::size_t k = 1; k < size; ++k) {
        if ((byte(at + k) & 0xC0) != 0x80) return 0;
    }
    const unsigned second = byte(at + 1);
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
    return size;
}

// Number of characters, or -1 where it is not UTF-8.
inline long characters(std::string_view text) {
    long count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
        const std::size_t size = character(text, at);
        if (size == 0) return -1;
        at += size;
    }
    return count;
}

// The first `most` characters, with a question mark for each byte that belongs to none: the reason
// of a stop must never be why there is no stop.
inline std::string clipped(std::string_view text, long most) {
    std::string kept;
    for (std::size_t at = 0; at < text.size() && most > 0; --most) {
        const std::size_t size = character(text, at);
        kept += size == 0 ? std::string_view("?") : text.substr(at, size);
        at += size == 0 ? 1 : size;
    }
    return kept;
}

// A number as people read it: %g, and the same "nan" everywhere.
inline std::string general(double value) {
    if (std::isnan(value)) return "nan";
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, "%.6g", value);
    return buffer;
}

}  // namespace acclimate
