// How far another machine's monotonic clock is off, from exchanges of four times (RFC 5905, 8).
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>

namespace acclimate {

inline std::int64_t monotonic_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// The bridge's clock minus the robot's, all in [ns]: the truth is within bound_ns of offset_ns.
struct Offset {
    std::int64_t offset_ns;
    std::int64_t bound_ns;
    std::int64_t round_trip_ns;  // without the time that the bridge took to answer
};

// The best exchange of the last 30 s: the one with the tightest bound now.
class OffsetEstimator {
public:
    static constexpr std::int64_t DRIFT_PPM = 100;  // crystals are good to 50 ppm each
    static constexpr std::int64_t WINDOW_NS = 30'000'000'000;

    // asked, answered: on the robot's clock; received, sent: on the bridge's. An exchange that cannot
    // have happened changes nothing and returns false.
    bool add(std::int64_t asked, std::int64_t received, std::int64_t sent, std::int64_t answered) {
        // The bridge may have written any times: their differences may need 65 bits.
        const Wide taken = Wide{sent} - received;
        const Wide round_trip = Wide{answered} - asked - taken;
        const Wide offset = half(Wide{received} - asked + sent - answered);
        constexpr Wide most = std::numeric_limits<std::int64_t>::max();
        if (taken < 0 || round_trip < 0 || round_trip > most || offset > most || offset < -most) {
            return false;
        }
        if (!exchanges_.empty() && answered < exchanges_.back().time) return false;
        const std::int64_t key = static_cast<std::int64_t>(round_trip / 2) - drift(answered);
        while (!exchanges_.empty() && exchanges_.back().key >= key) exchanges_.pop_back();
        while (!exchanges_.empty() && exchanges_.front().time < answered - WINDOW_NS) {
            exchanges_.pop_front();
        }
        exchanges_.push_back({answered, static_cast<std::int64_t>(offset),
                              static_cast<std::int64_t>(round_trip), key});
        return true;
    }

    std::optional<Offset> estimate(std::int64_t now) const {
        if (exchanges_.empty()) return std::nullopt;
        const Exchange& best = exchanges_.front();
        const std::int64_t age = now > best.time ? now - best.time : 0;
        // Two halves were rounded down above.
        return Offset{best.offset, best.round_trip / 2 + drift(age) + 2, best.round_trip};
    }

private:
    __extension__ using Wide = __int128;

    struct Exchange {
        std::int64_t time;  // the robot's clock when the answer was in
        std::int64_t offset;
        std::int64_t round_trip;
        // The bound at any time is key + drift × that time, so that the order of two exchanges never
        // changes: an older one with a larger key will never be the best.
        std::int64_t key;
    };

    static Wide half(Wide value) { return value >= 0 ? value / 2 : -((1 - value) / 2); }
    static std::int64_t drift(std::int64_t age) {
        return static_cast<std::int64_t>(Wide{age} * DRIFT_PPM / 1'000'000);
    }

    std::deque<Exchange> exchanges_;
};

}  // namespace acclimate
