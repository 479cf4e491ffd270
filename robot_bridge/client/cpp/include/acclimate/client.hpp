// RobotClient: what a driver is built around.
//
//     acclimate::RobotClient robot(settings);
//     robot.connect();
//     while (auto reset = robot.wait_reset(60.0)) {
//         ...                                        // move to the start, looking at check()
//         robot.ready();
//         acclimate::Command command = robot.exchange(measured(), note);  // note.first
//         ...                                        // follow it by command.mode, and so on
//         robot.end_episode(outcome);
//     }
//
// The client guards last: it clamps commands to the bundle's margins, and on silence goes hold → damp
// → latched stop, independent of the bridge.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "acclimate/clock.hpp"
#include "acclimate/command_filter.hpp"
#include "acclimate/link.hpp"
#include "acclimate/safety_monitor.hpp"
#include "acclimate/timing.hpp"

namespace acclimate {

// A simulated clock waits for its answer, so its silence is counted by the wall: a busy machine may
// take this long, a bridge that is gone takes longer [s].
constexpr double SIMULATED_PATIENCE = 2.0;
constexpr double CONNECT = 10.0;    // [s]
constexpr std::size_t EVENTS = 100;  // a driver that never looks at them runs for months
// Frames looked through after the answer, for a stop among them: as many as libzmq keeps.
constexpr int BACKLOG = 1000;

// patience: how long `exchange` waits, and what silence is counted in [s]; 0 for one control period,
// or SIMULATED_PATIENCE for a simulated clock. spacing: how far from control_period two observations
// may be apart before the robot holds. keys: for tcp, a folder of keys or one certificate; ""
// for the default folder.
struct Settings {
    std::string endpoint = "local";
    Hello robot;
    double patience = 0;
    safety::Staleness staleness;
    SpacingSettings spacing;
    std::string keys;
};

// What is said beside the numbers of an observation.
struct Note {
    float reward = 0;  // measured for the previous command
    bool first = false;
    bool last = false;
    bool terminal = false;     // the task ended here by itself
    std::uint32_t faults = 0;  // bits of `fault`
};

// One robot's connection to a bridge. Belongs to one thread.
class RobotClient {
public:
    explicit RobotClient(Settings settings)
        : hello_(settings.robot),
          patience_(patience_of(settings)),
          link_(settings.endpoint, settings.robot.name, settings.keys),
          monitor_(safety::Rules(std::llround(patience_ * 1e9), settings.staleness), link_,
                   settings.robot.name) {
        // A clock that waits for answers has no spacing of its own.
        if (!hello_.simulated_time) spacing_.emplace(hello_.control_period, settings.spacing);
    }

    RobotClient(const RobotClient&) = delete;
    RobotClient& operator=(const RobotClient&) = delete;

    // Shake hands within timeout [s]; returns what the bridge serves. Throws BridgeLost when no
    // bridge answers, HandshakeError with every difference, LimitError for limits that cannot be kept.
    const Welcome& connect(double timeout = CONNECT) {
        Welcome welcome = link_.introduce(hello_, timeout);
        filter_ = std::make_unique<CommandFilter>(
            Limits(welcome.observation, welcome.action, welcome.limits, welcome.control_period),
            spacing_, monitor_);
        welcome_ = std::move(welcome);
        const auto own = welcome_.latches.find(hello_.name);
        const std::uint64_t latch = own == welcome_.latches.end() ? 0 : own->second;
        occur(safety::Connected{welcome_.stop, latch, welcome_.stopped});
        return welcome_;
    }

    const Welcome& welcome() const { return welcome_; }
    const safety::State& state() const { return monitor_.state(); }
    // Latched: the robot must not move, nor be reset.
    bool stopped() const { return monitor_.stopped(); }
    // Whether the bridge only watches: it computes, and every command is to hold at least.
    bool shadow() const { return welcome_.shadow; }
    // What a bridge in shadow mode would have commanded (n_a,); empty otherwise.
    const std::vector<float>& proposal() const { return proposal_; }
    // From the bridge, about this robot; the driver may take them out.
    std::deque<Event>& events() { return events_; }
    // The bridge's clock minus the robot's; none before the first answer.
    std::optional<Offset> clock_offset() const { return clock_.estimate(monotonic_ns()); }

    // The next episode's request within timeout [s], if any; the driver then moves the robot to the
    // start. While the stop is latched none is handed on. Throws BridgeLost or HandshakeError,
    // stopped. A driver that moves for longer than a second looks at `check` meanwhile.
    std::optional<ResetRequest> wait_reset(double timeout) {
        const double deadline = seconds_now() + timeout;
        while (true) {
            // A stop right behind the request: the driver must not set out.
            drain();
            if (const auto request = std::exchange(monitor_.request, std::nullopt)) {
                occur(safety::Reset{});
                return request;
            }
            beat();
            const double left = deadline - seconds_now();
            std::optional<Frame> frame;
            try {
                frame = link_.receive(std::max(0.0, std::min(GLANCE, left)));
                if (!frame) link_.check_alive();
            } catch (const CodecError&) {
                // The bridge's own heartbeats will tell whether it still makes sense.
                continue;
            } catch (const Error& error) {
                occur(safety::Halt{clipped(error.what(), REASON)});
                throw;
            }
            if (frame) {
                hear_any(*frame);
            } else if (left <= 0) {
                return std::nullopt;
            }
        }
    }

    // The robot stands at the start. truth: hidden quantities by factor name [SI], for reports. Throws
    // CodecError for what no bridge would take, BridgeLost without a bridge.
    void ready(const Numbers& truth = {}) {
        link_.send(encode_ready(truth, link_.session(), monotonic_ns()));
    }

    // Send what was measured (n_o,), return what to do; waits for at most `patience`. Never throws for
    // a bridge that is silent, gone or wrong: the returned mode says what is safe, and `state().reason`
    // why. Throws CodecError for more numbers than a frame holds, SetupError before `connect`.
    Command exchange(const std::vector<float>& values, const Note& note = {}) {
        if (!filter_) throw SetupError("exchange before connect");
        if (values.size() > SIZE_MOST - OBSERVATION_HEAD / 4) {
            throw CodecError("OBSERVATION: " + std::to_string(values.size()) + " numbers");
        }
        if (note.first) {
            occur(safety::Start{});
            filter_->restart();
        } else {
            filter_->resume();
        }
        // Once for each new fault: the operator who releases the robot has to know of it.
        if ((note.faults & ~faults_) != 0 || (note.faults != 0 && !stopped())) {
            char text[60];
            std::snprintf(text, sizeof text, "the robot reports fault 0x%x", note.faults);
            occur(safety::Halt{text});
        }
        faults_ = note.faults;
        Observation sent;
        sent.sequence = ++sequence_;
        sent.time_ns = monotonic_ns();
        sent.values = values;
        sent.reward = note.reward;
        sent.faults = note.faults;
        sent.flags = static_cast<std::uint16_t>(
            (note.first ? flag::FIRST : 0) | (note.last ? flag::LAST : 0) |
            (note.terminal ? flag::TERMINAL : 0) | (filter_->unapplied() ? flag::UNAPPLIED : 0));
        // Even while stopped: the bridge and its operators go on seeing the robot.
        link_.tell(encode(sent, link_.session()));
        asked_ns_ = sent.time_ns;
        occur(safety::Asked{sent.time_ns});
        // What need not wait for the answer, while the bridge computes it.
        beat();
        const auto violation = filter_->judge(values, sent.time_ns, note.first);
        const auto answer = await_answer();
        Command command = filter_->guard(sequence_, answer, violation);
        if (note.last) occur(safety::Finish{});
        return command;
    }

    // What is safe right now, without asking the bridge: for a driver's faster inner loop, and while
    // it moves to the start. Hears stops, and shows the bridge that the robot lives.
    Mode check() {
        drain();
        occur(safety::Tick{monotonic_ns()});
        if (!stopped() && link_.quiet() > BRIDGE_LOST) {
            occur(safety::Halt{"nothing from the bridge for " + general(link_.quiet()) + " s"});
        }
        beat();
        return state().mode;
    }

    // Latch the stop from the driver's side.
    void halt(const std::string& reason) { occur(safety::Halt{clipped(reason, REASON)}); }

    // Stop every robot of the bridge, and this one in any case. Throws BridgeLost
    // or HandshakeError, stopped, when only this one could be.
    void stop_all(const std::string& reason) {
        Stop stop;
        stop.reason = clipped(reason, REASON);
        try {
            link_.send(encode(stop, link_.session(), monotonic_ns()));
        } catch (...) {
            halt(reason);
            throw;
        }
        halt(reason);
    }

    // Say how the episode ended. Throws CodecError for what no bridge would take, BridgeLost.
    void end_episode(const Outcome& outcome) {
        const Bytes data = encode(outcome, link_.session(), monotonic_ns());
        occur(safety::Finish{});
        link_.send(data);
    }

private:
    static double patience_of(const Settings& settings) {
        const Hello& robot = settings.robot;
        if (!(robot.control_period > 0)) throw SetupError("control_period; expected more than 0 s");
        // NaN is neither.
        if (!(settings.patience >= 0 && settings.patience <= 1e6)) {
            throw SetupError("patience; expected seconds, from 0 to 1e6");
        }
        if (settings.patience > 0) return settings.patience;
        return robot.simulated_time ? SIMULATED_PATIENCE : robot.control_period;
    }

    // The answer to the latest observation, or none after `patience`.
    std::optional<Command> await_answer() {
        const double deadline = seconds_now() + patience_;
        // While stopped too: that is when a release may come.
        for (double left = patience_; left > 0; left = deadline - seconds_now()) {
            try {
                const std::optional<Frame> frame = link_.receive(left);
                if (!frame) break;
                if (frame->kind != Kind::COMMAND) {
                    hear(*frame);
                    continue;
                }
                const Command command = decode_command(*frame);
                if (command.sequence != sequence_) continue;
                take(command);
                // A stop that has arrived behind the command wins over it, now and not next period.
                drain();
                return command;
            } catch (const CodecError&) {
                // A frame that cannot be read is no answer; the silence speaks for it.
                continue;
            } catch (const Error& error) {
                occur(safety::Halt{clipped(error.what(), REASON)});
                break;
            }
        }
        occur(safety::Tick{monotonic_ns()});
        return std::nullopt;
    }

    void take(const Command& command) {
        const std::int64_t now_ns = monotonic_ns();
        clock_.add(asked_ns_, command.received_ns, command.sent_ns, now_ns);
        proposal_ = command.shadow ? command.values : std::vector<float>{};
        Mode mode = command.mode;
        // If the two disagree, the robot holds.
        if (shadow() || command.shadow) mode = std::max(mode, Mode::HOLD);
        occur(safety::Answered{now_ns, mode, command.validity_ns});
    }

    // Hear what has arrived, without waiting. Never throws: what is lost stops the robot.
    void drain() {
        for (int k = 0; k < BACKLOG; ++k) {
            try {
                const std::optional<Frame> frame = link_.receive(0);
                if (!frame) return;
                hear(*frame);
            } catch (const CodecError&) {
                continue;
            } catch (const Error& error) {
                if (!stopped()) occur(safety::Halt{clipped(error.what(), REASON)});
                return;
            }
        }
    }

    // Show the bridge that the robot lives, and how it stands, when that is due.
    void beat() {
        const std::int64_t now_ns = monotonic_ns();
        if (now_ns < heartbeat_due_ns_) return;
        heartbeat_due_ns_ = now_ns + std::llround(HEARTBEAT * 1e9);
        Heartbeat beat;
        beat.stop = state().stop;
        beat.latch = monitor_.latch();
        beat.stopped = stopped();
        if (const auto offset = clock_.estimate(now_ns)) {
            beat.clock_offset_ns = offset->offset_ns;
            beat.round_trip_ns = offset->round_trip_ns;
        }
        link_.tell(encode(beat, link_.session(), now_ns));
    }

    void hear_any(const Frame& frame) {
        try {
            hear(frame);
        } catch (const CodecError&) {
            // What cannot be read says nothing; a stop is one all the same, in `hear`.
            return;
        }
    }

    // Everything the bridge says unasked.
    void hear(const Frame& frame) {
        if (frame.kind == Kind::STOP) {
            const Stop stop = decode_stop(frame);
            occur(safety::Stopped{stop.number, clipped(stop.reason, REASON)});
        } else if (frame.kind == Kind::HEARTBEAT) {
            const std::uint64_t number = decode_heartbeat(frame).stop;
            // The stop itself was lost on the way.
            if (number > state().stop) {
                occur(safety::Stopped{number, "the bridge has given stop " + std::to_string(number)});
            }
        } else if (frame.kind == Kind::RELEASE) {
            occur(decode_release(frame));
        } else if (frame.kind == Kind::RESET) {
            const ResetRequest request = decode_reset(frame);
            if (stopped()) {
                monitor_.say("robot_stopped", state().reason);
            } else {
                monitor_.request = request;
            }
        } else if (frame.kind == Kind::EVENT) {
            events_.push_back(decode_event(frame));
            if (events_.size() > EVENTS) events_.pop_front();
        }
    }

    void occur(const safety::Occurrence& event) { monitor_.occur(event); }

    Hello hello_;
    double patience_;
    Link link_;
    SafetyMonitor monitor_;
    Welcome welcome_;
    std::optional<SpacingMonitor> spacing_;  // none where the clock waits for answers
    std::unique_ptr<CommandFilter> filter_;  // from the welcome on
    OffsetEstimator clock_;
    std::deque<Event> events_;
    std::vector<float> proposal_;
    std::int64_t heartbeat_due_ns_ = 0;
    std::int64_t asked_ns_ = 0;  // when the latest observation was sent
    std::uint64_t sequence_ = 0;
    std::uint32_t faults_ = 0;
};

}  // namespace acclimate
