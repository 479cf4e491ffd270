// The client's own check of what was measured and commanded, independent of the bridge.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "acclimate/limits.hpp"
#include "acclimate/safety_monitor.hpp"
#include "acclimate/spacing.hpp"

namespace acclimate {

// spacing: none where the robot's clock waits for answers.
class CommandFilter {
public:
    CommandFilter(Limits limits, std::optional<SpacingMonitor> spacing, SafetyMonitor& monitor)
        : limits_(std::move(limits)), spacing_(std::move(spacing)), monitor_(monitor) {}

    // Whether the latest command was not followed as it was sent.
    bool unapplied() const { return unapplied_; }

    // An episode begins.
    void restart() {
        last_.reset();
        measured_.reset();
        unapplied_ = false;
    }

    // An episode goes on. Between two periods the mode only gets stricter, or a release opens a stop:
    // in any mode but TRACK the robot has stood still since.
    void resume() {
        if (monitor_.state().mode == Mode::TRACK) return;
        last_.reset();
        unapplied_ = true;
    }

    // What an observation breaks; it counts once the answer is in, or is not coming.
    std::optional<safety::Violation> judge(const std::vector<float>& values, std::int64_t time_ns,
                                           bool first) {
        const std::string trouble = spacing_ ? spacing_->note(time_ns, first) : "";
        const std::string invalid = limits_.invalid(values);
        if (!invalid.empty()) {
            measured_.reset();
            return safety::Violation{Mode::HOLD, clipped(invalid, REASON)};
        }
        const auto broken = limits_.broken(values, measured_ ? &*measured_ : nullptr,
                                            spacing_ ? spacing_->elapsed() : 1.0);
        measured_ = values;
        if (!broken && trouble.empty()) return std::nullopt;
        if (!broken) return safety::Violation{Mode::HOLD, trouble};
        return safety::Violation{broken->mode, clipped(broken->reason, REASON)};
    }

    // The command to follow: within the margins, and no more than the state allows.
    // sequence: of the observation. answer: the bridge's, none for its silence.
    Command guard(std::uint64_t sequence, const std::optional<Command>& answer,
                  const std::optional<safety::Violation>& violation) {
        if (violation) monitor_.occur(*violation);
        // Without an answer the last command stands for as long as the state says TRACK.
        const std::optional<Command> base = answer ? answer : last_;
        Command command = base.value_or(Command{});
        bool clamped = false;
        if (base && monitor_.state().mode == Mode::TRACK) {
            try {
                auto within = limits_.clamp(command.values, last_ ? &last_->values : nullptr,
                                             spacing_ ? spacing_->allowed() : 1.0);
                clamped = !within.changed.empty();
                command.values = std::move(within.values);
                command.sequence = sequence;
            } catch (const LimitError& error) {
                monitor_.occur(safety::Violation{Mode::HOLD, error.what()});
            }
        }
        unapplied_ = !answer || clamped || monitor_.state().mode != Mode::TRACK;
        if (base && monitor_.state().mode == Mode::TRACK) {
            last_ = command;
            return command;
        }
        last_.reset();
        Command still;
        still.sequence = sequence;
        still.mode = std::max(monitor_.state().mode, Mode::HOLD);
        still.values.assign(limits_.action_size(), 0.0F);
        still.belief_version = command.belief_version;
        return still;
    }

private:
    Limits limits_;
    std::optional<SpacingMonitor> spacing_;
    SafetyMonitor& monitor_;
    std::optional<Command> last_;                 // the last good command, as followed
    std::optional<std::vector<float>> measured_;  // a period ago, if it was valid
    bool unapplied_ = false;
};

}  // namespace acclimate
