// The client's last word: a pure state machine over the bridge's answers and its silence, the same
// as robot_bridge/safety/state_machine.py, event by event and word by word. No sockets and no clocks here: times
// are passed in [ns].
//
// Silence runs from the first observation that has not been answered. A fresh answer leads back from
// HOLD and DAMP; nothing but a release that answers every stop leads out of STOP, and not to motion.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "acclimate/error.hpp"
#include "acclimate/messages.hpp"

namespace acclimate::safety {

// Silence, in control periods, before each step down.
struct Staleness {
    int hold = 2;   // one lost or late answer is ordinary jitter; a second in a row is not
    int damp = 5;   // a stiff hold against contact builds up force; soon after, let go
    int stop = 10;  // half a second at 20 Hz: the bridge is gone
};

// period_ns: by which silence is counted [ns].
struct Rules {
    std::int64_t period_ns;
    Staleness staleness;

    explicit Rules(std::int64_t period, Staleness stale = {}) : period_ns(period), staleness(stale) {
        if (period <= 0) throw SetupError("a period by which silence is counted must be above 0");
        if (stale.hold < 1 || stale.damp < stale.hold || stale.stop < stale.damp) {
            throw SetupError("staleness; expected 1 <= hold <= damp <= stop");
        }
    }
};

// active: within an episode. asked_ns: when the first unanswered observation was sent. stop: highest
// number of the bridge's stops. latch: count of the robot's own.
struct State {
    Mode mode = Mode::HOLD;
    std::string reason = "no episode";
    bool active = false;
    std::optional<std::int64_t> asked_ns;
    std::int64_t valid_until_ns = 0;
    std::uint64_t stop = 0;
    std::uint64_t latch = 0;
};

// The bridge knows of these stops; stopped: some of them have not been released.
struct Connected {
    std::uint64_t stop;
    std::uint64_t latch;
    bool stopped;
};
// The driver takes over, to bring the robot to the start of an episode.
struct Reset {};
struct Start {};
struct Finish {};
struct Asked {
    std::int64_t now_ns;
};
struct Answered {
    std::int64_t now_ns;
    Mode mode;
    std::int64_t validity_ns;
};
// Time has come to now_ns without an answer.
struct Tick {
    std::int64_t now_ns;
};
// A limit is broken: at least `mode` until the next answer.
struct Violation {
    Mode mode;
    std::string reason;
};
// Stop and stay stopped: the driver says so, or the robot, or the bridge is lost.
struct Halt {
    std::string reason;
};
// The bridge's stop of this number.
struct Stopped {
    std::uint64_t number;
    std::string reason;
};

using Occurrence = std::variant<Connected, Reset, Start, Finish, Asked, Answered, Tick, Violation,
                                Halt, Stopped, Release>;

namespace detail {

inline State latched(State state, std::string reason) {
    state.mode = Mode::STOP;
    state.reason = std::move(reason);
    ++state.latch;
    state.asked_ns.reset();
    return state;
}

inline State still(State state, Mode mode, const char* reason, bool active) {
    state.mode = mode;
    // A robot that stays damped keeps its reason.
    if (mode != Mode::DAMP) state.reason = reason;
    state.active = active;
    state.asked_ns.reset();
    state.valid_until_ns = 0;
    return state;
}

inline State aged(State state, std::int64_t now_ns, const Rules& rules) {
    const std::int64_t silence_ns = state.asked_ns ? now_ns - *state.asked_ns : 0;
    if (silence_ns < 0) {
        // Silence cannot be counted any more, and a command would stay valid for as long again.
        char reason[80];
        std::snprintf(reason, sizeof reason, "the robot's clock went back by %.3g s",
                      static_cast<double>(-silence_ns) / 1e9);
        return latched(std::move(state), reason);
    }
    const double periods = static_cast<double>(silence_ns) / static_cast<double>(rules.period_ns);
    Mode due = Mode::TRACK;
    if (periods >= rules.staleness.hold) due = Mode::HOLD;
    if (periods >= rules.staleness.damp) due = Mode::DAMP;
    if (periods >= rules.staleness.stop) due = Mode::STOP;
    if (due > state.mode) {
        char reason[80];
        std::snprintf(reason, sizeof reason, "no answer for %.1f control periods", periods);
        if (due == Mode::STOP) return latched(std::move(state), reason);
        state.mode = due;
        state.reason = reason;
    } else if (state.mode == Mode::TRACK && now_ns > state.valid_until_ns) {
        state.mode = Mode::HOLD;
        state.reason = "the last command is no longer valid";
    }
    return state;
}

inline State answered(State state, const Answered& event, const Rules& rules) {
    // An answer to what was asked before a release, or to nothing: no leave to move.
    if (!state.asked_ns) return state;
    State late = aged(state, event.now_ns, rules);
    // An answer that comes too late does not undo the stop that was due before it.
    if (late.mode == Mode::STOP) return late;
    if (event.mode == Mode::STOP) return latched(std::move(state), "the bridge says so");
    state.mode = event.mode;
    state.reason = event.mode == Mode::TRACK ? "" : "the bridge says so";
    state.asked_ns.reset();
    // A validity for ever must not wrap around into the past.
    constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
    const std::int64_t room = event.now_ns > 0 ? never - event.now_ns : never;
    state.valid_until_ns = event.now_ns + std::min(event.validity_ns, room);
    return state;
}

inline State released(State state, const Release& event) {
    if (state.mode != Mode::STOP || event.stop < state.stop || event.latch < state.latch) {
        return state;
    }
    state.mode = Mode::HOLD;
    state.reason = "released";
    state.asked_ns.reset();
    state.valid_until_ns = 0;
    return state;
}

}  // namespace detail

// The state after one event; it is never milder than what the event allows.
inline State step(State state, const Occurrence& event, const Rules& rules) {
    if (const auto* known = std::get_if<Connected>(&event)) {
        state.stop = std::max(state.stop, known->stop);
        state.latch = std::max(state.latch, known->latch);
        if (known->stopped) {
            state.mode = Mode::STOP;
            state.reason = "stopped before it connected";
        }
        return state;
    }
    // Also while the stop is latched: the operator who releases it has to know of every one.
    if (const auto* halt = std::get_if<Halt>(&event)) {
        return detail::latched(std::move(state), halt->reason);
    }
    if (const auto* stop = std::get_if<Stopped>(&event)) {
        state.mode = Mode::STOP;
        state.reason = stop->reason;
        state.stop = std::max(state.stop, stop->number);
        state.asked_ns.reset();
        return state;
    }
    if (const auto* release = std::get_if<Release>(&event)) {
        return detail::released(std::move(state), *release);
    }
    const bool start = std::holds_alternative<Start>(event);
    const bool finish = std::holds_alternative<Finish>(event);
    const bool reset = std::holds_alternative<Reset>(event);
    if (state.mode == Mode::STOP) {
        // Within a latched stop, only the bookkeeping of episodes goes on.
        if (start || finish || reset) {
            state.active = start;
            state.asked_ns.reset();
        }
        return state;
    }
    if (const auto* broken = std::get_if<Violation>(&event)) {
        if (broken->mode == Mode::STOP) return detail::latched(std::move(state), broken->reason);
        if (broken->mode > state.mode) {
            state.mode = broken->mode;
            state.reason = broken->reason;
        }
        return state;
    }
    // The driver moves the robot by its own means, damped or not.
    if (reset) {
        return detail::still(std::move(state), Mode::HOLD, "the driver moves to the start", false);
    }
    // A damped robot may be in contact; stiffening now would press.
    const Mode kept = std::max(state.mode, Mode::HOLD);
    if (start) return detail::still(std::move(state), kept, "no answer yet", true);
    if (finish) return detail::still(std::move(state), kept, "no episode", false);
    if (!state.active) return state;
    if (const auto* asked = std::get_if<Asked>(&event)) {
        if (!state.asked_ns) state.asked_ns = asked->now_ns;
        return state;
    }
    if (const auto* tick = std::get_if<Tick>(&event)) {
        return detail::aged(std::move(state), tick->now_ns, rules);
    }
    return detail::answered(std::move(state), std::get<Answered>(event), rules);
}

}  // namespace acclimate::safety
