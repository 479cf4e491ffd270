// Do a robot's observations come one control period apart? The same as robot_bridge/safety/spacing.py,
// number by number and word by word: a driver that asks five times as often as the bundle means would
// move its robot five times as fast, so the client holds it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>


namespace acclimate {

// In control periods. gap: between two observations of an episode, from which on the robot holds.
// drift: ahead or behind in sum, beyond which it holds; infinite for a driver without a rate.
struct SpacingSettings {
    double gap = 2.0;
    double drift = 3.0;
};

class SpacingMonitor {
public:
    // period: the bundle's control period [s].
    explicit SpacingMonitor(double period, SpacingSettings settings = {})
        : period_(period), settings_(settings) {}

    // An observation of that time on a monotonic clock [ns]; returns why the robot holds, or "".
    // paused: nothing is too slow, as between two episodes.
    const std::string& note(std::int64_t time_ns, bool paused = false) {
        const std::optional<std::int64_t> before_ns = before_ns_;
        before_ns_ = time_ns;
        if (!before_ns) return trouble_;
        const double drift = settings_.drift;
        const double spacing = static_cast<double>(time_ns - *before_ns) * 1e-9;
        const double periods = spacing / period_;
        periods_ = paused ? 1.0 : periods;
        ahead_ = std::min(drift + 1.0, std::max(0.0, ahead_ + FASTEST - periods));
        behind_ = paused ? 0.0 : std::min(drift + 1.0, std::max(0.0, behind_ + periods - SLOWEST));
        if (ahead_ > drift || behind_ > drift || (periods > settings_.gap && !paused)) {
            char text[120];
            std::snprintf(text, sizeof text,
                          "%.3g s since the observation before; the bundle's control period is %g s",
                          spacing, period_);
            trouble_ = text;
        } else if (ahead_ < RECOVERED && behind_ < RECOVERED) {
            trouble_.clear();
        }
        return trouble_;
    }

    // Control periods over which a change between the last two observations came about.
    double elapsed() const { return std::max(SHORTEST, periods_); }

    // Part of a period's change that a command may make, less than 1 after a short spacing. Never 0,
    // by which no limit at all would become NaN.
    double allowed() const {
        const bool free = periods_ >= JITTER || std::isinf(settings_.drift);
        return free ? 1.0 : std::max(1e-6, periods_);
    }

private:
    // A driver may be this fast and this slow for ever, as a part of the control period.
    static constexpr double FASTEST = 0.9;
    static constexpr double SLOWEST = 1.25;
    static constexpr double RECOVERED = 1.0;  // ahead or behind, below which a robot goes on
    static constexpr double SHORTEST = 0.5;   // noise over a microsecond would be an enormous speed
    static constexpr double JITTER = 0.8;     // from here on a driver is at the right rate

    double period_;
    SpacingSettings settings_;
    std::optional<std::int64_t> before_ns_;
    double ahead_ = 0, behind_ = 0, periods_ = 1;
    std::string trouble_;
};

}  // namespace acclimate
