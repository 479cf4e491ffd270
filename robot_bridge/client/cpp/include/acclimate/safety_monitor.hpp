// The safety state machine of one robot, whose stops and releases are told to the bridge.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "acclimate/link.hpp"
#include "acclimate/safety.hpp"

namespace acclimate {

constexpr long REASON = 1000;  // characters kept of why a stop latched

class SafetyMonitor {
public:
    SafetyMonitor(safety::Rules rules, Link& link, std::string robot)
        : rules_(rules), link_(link), robot_(std::move(robot)) {}

    const safety::State& state() const { return state_; }
    bool stopped() const { return state_.mode == Mode::STOP; }
    // Number of the robot's own latest stop, as far as a frame holds it.
    std::uint64_t latch() const { return std::min(state_.latch, COUNT_MOST); }

    // Advance by one event, and tell the bridge what came of it. Never throws: without a bridge the
    // stop stands all the same.
    void occur(const safety::Occurrence& event) {
        const safety::State before = state_;
        state_ = safety::step(before, event, rules_);
        // A release does not allow what was requested before the stop.
        if (stopped()) request.reset();
        const bool news = state_.stop != before.stop || state_.latch != before.latch ||
                          before.mode != Mode::STOP;
        if (stopped() && news) {
            say("robot_stopped", state_.reason);
        } else if (const auto* release = std::get_if<Release>(&event)) {
            if (stopped()) {
                say("release_refused", "it answers " + numbers(release->stop, release->latch) +
                                           "; the robot has " + numbers(before.stop, before.latch));
            } else if (before.mode == Mode::STOP) {
                say("robot_released", "released; it was stopped: " + before.reason);
            } else {
                say("robot_released", "it was not stopped");
            }
        }
    }

    void say(const char* name, const std::string& text) {
        link_.tell(encode(Event{name, robot_, clipped(text, TEXT_MOST), latch()},
                          link_.session(), monotonic_ns()));
    }

    // For the next episode, heard and not yet handed on; a stop makes it void.
    std::optional<ResetRequest> request;

private:
    static std::string numbers(std::uint64_t stop, std::uint64_t latch) {
        return "stop " + std::to_string(stop) + " of the bridge and " + std::to_string(latch) +
               " of its own";
    }

    safety::Rules rules_;
    Link& link_;
    std::string robot_;
    safety::State state_;
};

}  // namespace acclimate
