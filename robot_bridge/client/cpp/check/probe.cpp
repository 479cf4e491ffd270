// The client's parts on their own, line by line from standard input, so that a test can hold them
// against the Python ones. One line out for each line in:
//
//     rules PERIOD_NS HOLD DAMP STOP          a new state machine, from its first state
//     state MODE ACTIVE ASKED|- VALID STOP LATCH REASON...    put it into this state
//     connected STOP LATCH STOPPED | reset | start | finish | asked T | answered T MODE VALIDITY
//     | tick T | violation MODE REASON... | halt REASON... | stopped NUMBER REASON...
//     | release STOP LATCH                    one event; out comes the state, as above
//     frame HEX                               out: what a robot reads in it, or "refused WHY"
//     welcome HEX                             out: sizes, or why no robot could keep its limits
//     clamp HEX HEX|-                         command, command before: as float32
//     judge HEX HEX|-                         observation, observation before
//     spacing PERIOD GAP DRIFT                a new monitor; out: nothing
//     note TIME PAUSED                        out: what may change, over how long, why it holds
//     clock ASKED RECEIVED SENT ANSWERED      out: taken or not, and the estimate at ANSWERED

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "acclimate/acclimate.hpp"

namespace {

using namespace acclimate;

Bytes unhex(const std::string& text) {
    Bytes bytes;
    for (std::size_t k = 0; k + 1 < text.size(); k += 2) {
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(k, 2), nullptr, 16)));
    }
    return bytes;
}

std::string hex(const Bytes& bytes) {
    std::string text;
    char pair[3];
    for (const std::uint8_t byte : bytes) {
        std::snprintf(pair, sizeof pair, "%02x", byte);
        text += pair;
    }
    return text;
}

std::string hex(const std::vector<float>& values) {
    Bytes bytes;
    little::put(bytes, values);
    return hex(bytes);
}

std::optional<std::vector<float>> floats(const std::string& text) {
    if (text == "-") return std::nullopt;
    const Bytes bytes = unhex(text);
    std::vector<float> values;
    for (std::size_t k = 0; k < bytes.size(); k += 4) {
        values.push_back(little::get_float(bytes.data() + k));
    }
    return values;
}

std::string rest(std::istringstream& in) {
    std::string text;
    std::getline(in >> std::ws, text);
    return text;
}

Mode mode_of(int number) { return static_cast<Mode>(number); }

struct Probe {
    safety::Rules rules{1};
    safety::State state;
    std::unique_ptr<Limits> limits;
    OffsetEstimator clock;
    SpacingMonitor beat{1.0};

    std::string answer(const std::string& line) {
        std::istringstream in(line);
        std::string word;
        in >> word;
        if (word == "frame") return frame(in);
        if (word == "welcome") return welcome(in);
        if (word == "clamp") return clamp(in);
        if (word == "judge") return judge(in);
        if (word == "clock") return exchange(in);
        if (word == "spacing") return spacing(in);
        if (word == "note") return note(in);
        return machine(word, in);
    }

    std::string machine(const std::string& word, std::istringstream& in) {
        std::int64_t time = 0, validity = 0;
        std::uint64_t stop = 0, latch = 0;
        int mode = 0;
        bool yes = false;
        std::string text;
        if (word == "rules") {
            safety::Staleness stale;
            in >> time >> stale.hold >> stale.damp >> stale.stop;
            rules = safety::Rules(time, stale);
            state = {};
        } else if (word == "state") {
            in >> mode >> state.active >> text >> state.valid_until_ns >> state.stop >> state.latch;
            state.mode = mode_of(mode);
            state.asked_ns = text == "-" ? std::nullopt : std::optional(std::stoll(text));
            state.reason = rest(in);
        } else if (word == "connected") {
            in >> stop >> latch >> yes;
            occur(safety::Connected{stop, latch, yes});
        } else if (word == "reset") {
            occur(safety::Reset{});
        } else if (word == "start") {
            occur(safety::Start{});
        } else if (word == "finish") {
            occur(safety::Finish{});
        } else if (word == "asked") {
            in >> time;
            occur(safety::Asked{time});
        } else if (word == "answered") {
            in >> time >> mode >> validity;
            occur(safety::Answered{time, mode_of(mode), validity});
        } else if (word == "tick") {
            in >> time;
            occur(safety::Tick{time});
        } else if (word == "violation") {
            in >> mode;
            occur(safety::Violation{mode_of(mode), rest(in)});
        } else if (word == "halt") {
            occur(safety::Halt{rest(in)});
        } else if (word == "stopped") {
            in >> stop;
            occur(safety::Stopped{stop, rest(in)});
        } else if (word == "release") {
            in >> stop >> latch;
            occur(Release{stop, latch});
        } else {
            return "no such word: " + word;
        }
        std::ostringstream out;
        out << static_cast<int>(state.mode) << ' ' << state.active << ' ';
        out << (state.asked_ns ? std::to_string(*state.asked_ns) : "-") << ' ';
        out << state.valid_until_ns << ' ' << state.stop << ' ' << state.latch << ' ' << state.reason;
        return out.str();
    }

    void occur(const safety::Occurrence& event) { state = safety::step(state, event, rules); }

    std::string frame(std::istringstream& in) {
        const Bytes data = unhex(rest(in));
        try {
            const Frame found = decode(data.data(), data.size());
            std::ostringstream out;
            out << name_of(found.kind) << ' ' << found.session << ' ' << found.sequence << ' '
                << found.time_ns << ' ' << body(found);
            return out.str();
        } catch (const CodecError& error) {
            std::string why = clipped(error.what(), 200);
            // One line, for any names of fields.
            std::replace_if(why.begin(), why.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
            return "refused " + why;
        }
    }

    static std::string words(const std::string& text) {
        return hex(Bytes(text.begin(), text.end()));
    }

    static std::string body(const Frame& frame) {
        std::ostringstream out;
        switch (frame.kind) {
            case Kind::WELCOME: {
                const Welcome it = decode_welcome(frame);
                out << it.session << ' ' << it.shadow << ' ' << words(it.digest)
                    << ' ' << words(it.bundle) << ' ' << it.observation.size() << ' '
                    << it.action.size() << ' ' << it.limits.size() << ' ' << it.stop << ' '
                    << it.latches.size() << ' ' << it.stopped;
                break;
            }
            case Kind::REFUSED:
                for (const std::string& reason : decode_refused(frame).reasons) {
                    out << words(reason) << ' ';
                }
                break;
            case Kind::COMMAND: {
                const Command it = decode_command(frame);
                out << it.validity_ns << ' ' << it.received_ns << ' ' << it.sent_ns << ' '
                    << it.belief_version << ' ' << static_cast<int>(it.mode) << ' ' << it.shadow << ' '
                    << hex(it.values);
                break;
            }
            case Kind::RESET: {
                const ResetRequest it = decode_reset(frame);
                out << it.task << ' ' << it.episode << ' ' << it.seed << ' ' << it.new_task;
                break;
            }
            case Kind::EVENT: {
                const Event it = decode_event(frame);
                out << words(it.name) << ' ' << words(it.robot) << ' ' << words(it.text) << ' '
                    << it.number;
                break;
            }
            case Kind::STOP: {
                const Stop it = decode_stop(frame);
                out << it.closing << ' ' << it.number << ' ' << words(it.robot);
                break;
            }
            case Kind::RELEASE: {
                const Release it = decode_release(frame);
                out << it.stop << ' ' << it.latch;
                break;
            }
            case Kind::HEARTBEAT: {
                const Heartbeat it = decode_heartbeat(frame);
                const auto shown = [](const std::optional<std::int64_t>& value) {
                    return value ? std::to_string(*value) : std::string("-");
                };
                out << it.stop << ' ' << it.latch << ' ' << it.stopped << ' '
                    << shown(it.clock_offset_ns) << ' ' << shown(it.round_trip_ns);
                break;
            }
            default:
                out << hex(frame.payload);
        }
        return out.str();
    }

    std::string welcome(std::istringstream& in) {
        const Bytes data = unhex(rest(in));
        try {
            const Welcome it = decode_welcome(decode(data.data(), data.size()));
            limits = std::make_unique<Limits>(it.observation, it.action, it.limits, it.control_period);
            return std::to_string(limits->observation_size()) + " " +
                   std::to_string(limits->action_size());
        } catch (const Error& error) {
            return std::string("refused ") + error.what();
        }
    }

    std::string clamp(std::istringstream& in) const {
        std::string one, other;
        in >> one >> other;
        const auto before = floats(other);
        try {
            const auto made = limits->clamp(*floats(one), before ? &*before : nullptr);
            std::string text = hex(made.values);
            for (const std::string& name : made.changed) text += " " + name;
            return text;
        } catch (const LimitError& error) {
            return std::string("refused ") + error.what();
        }
    }

    std::string judge(std::istringstream& in) const {
        std::string one, other;
        in >> one >> other;
        const auto values = *floats(one);
        const auto before = floats(other);
        const std::string invalid = limits->invalid(values);
        if (!invalid.empty()) return "invalid " + invalid;
        const auto broken = limits->broken(values, before ? &*before : nullptr);
        return broken ? std::string(name_of(broken->mode)) + " " + broken->reason : "fine";
    }

    std::string spacing(std::istringstream& in) {
        double period = 0;
        SpacingSettings settings;
        in >> period >> settings.gap >> settings.drift;
        beat = SpacingMonitor(period, settings);
        return "";
    }

    std::string note(std::istringstream& in) {
        std::int64_t time = 0;
        bool paused = false;
        in >> time >> paused;
        const std::string why = beat.note(time, paused);
        char text[100];
        std::snprintf(text, sizeof text, "%.9g %.9g ", beat.allowed(), beat.elapsed());
        return text + why;
    }

    std::string exchange(std::istringstream& in) {
        std::int64_t asked = 0, received = 0, sent = 0, answered = 0;
        in >> asked >> received >> sent >> answered;
        const bool taken = clock.add(asked, received, sent, answered);
        std::string text = std::to_string(taken);
        if (const auto offset = clock.estimate(answered)) {
            for (const std::int64_t part : {offset->offset_ns, offset->bound_ns, offset->round_trip_ns}) {
                text += " " + std::to_string(part);
            }
        }
        return text;
    }
};

}  // namespace

int main() {
    Probe probe;
    for (std::string line; std::getline(std::cin, line);) {
        std::cout << probe.answer(line) << '\n';
    }
    return 0;
}
