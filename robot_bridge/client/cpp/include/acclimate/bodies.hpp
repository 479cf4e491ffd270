// The MessagePack bodies that a robot reads and writes. Every bound of docs/protocol.md is kept, on
// the way in and on the way out: what a bridge would drop is an error here, where it can be seen.
#pragma once

#include <cstdint>
#include <string>

#include "acclimate/frame.hpp"
#include "acclimate/messages.hpp"
#include "acclimate/msgpack.hpp"

namespace acclimate {

constexpr std::uint64_t ENTRIES_MOST = 256;
constexpr std::uint64_t ANY = ~std::uint64_t{0};

namespace body {

inline void put(Writer& out, const std::vector<FieldSpec>& fields) {
    out.array(fields.size());
    for (const FieldSpec& field : fields) {
        out.map(3);
        out.key("name"), out.name(field.name);
        out.key("shape"), out.array(field.shape.size());
        for (const std::uint64_t extent : field.shape) out.count(extent);
        out.key("unit"), out.text(field.unit, 64);
    }
}

inline void put(Writer& out, const Numbers& numbers) {
    if (numbers.size() > ENTRIES_MOST) {
        throw CodecError(std::to_string(numbers.size()) + " numbers; at most 256");
    }
    out.map(numbers.size());
    for (const auto& [name, value] : numbers) out.name(name), out.number(value);
}

inline std::vector<std::uint64_t> extents(Reader& in) {
    std::vector<std::uint64_t> shape;
    in.array(ANY, [&] { shape.push_back(in.count(65'536, 1)); });
    return shape;
}

inline Field field(Reader& in, bool action) {
    Field made;
    const Reader::Slot name{"name", true, [&] { made.name = in.name(); }};
    const Reader::Slot shape{"shape", true, [&] { made.shape = extents(in); }};
    const Reader::Slot unit{"unit", true, [&] { made.unit = in.text(); }};
    const Reader::Slot low{"low", true, [&] { made.low = in.number(); }};
    const Reader::Slot high{"high", true, [&] { made.high = in.number(); }};
    const Reader::Slot scale{"scale", true, [&] { made.scale = in.positive(); }};
    const Reader::Slot offset{"offset", false, [&] { made.offset = in.number(); }};
    const Reader::Slot description{"description", false, [&] { in.text(); }};
    const Reader::Slot frame{"frame", false, [&] { in.text(); }};
    const Reader::Slot convention{"convention", false, [&] { in.text(); }};
    const auto names = [&] { in.array(ANY, [&] { in.name(); }); };
    const Reader::Slot elements{"elements", false, names};
    if (action) {
        in.structure({name, shape, unit, low, high, scale, offset, description, frame, convention,
                      elements});
    } else {
        in.structure({name, shape, unit, low, high, description, frame, convention, elements});
    }
    return made;
}

inline Limit limit(Reader& in) {
    Limit made;
    const auto quantity = [&] {
        made.quantity = in.text();
        for (const char* known : {"position", "velocity", "effort", "workspace", "force", "rate"}) {
            if (made.quantity == known) return;
        }
        in.fail("quantity '" + clipped(made.quantity, 64) + "'; expected position, velocity, "
                "effort, workspace, force or rate");
    };
    const auto elements = [&] {
        made.elements.clear();
        in.array(ANY, [&] { made.elements.push_back(in.count(1'000'000)); });
    };
    in.structure({{"quantity", true, quantity},
                  {"field", true, [&] { made.field = in.name(); }},
                  {"low", true, [&] { made.low = in.number(); }},
                  {"high", true, [&] { made.high = in.number(); }},
                  {"unit", true, [&] { made.unit = in.text(); }},
                  {"reason", true, [&] { made.reason = in.text(); }},
                  {"elements", false, elements}});
    return made;
}

inline void latent(Reader& in) {
    const auto factor = [&] {
        in.structure({{"name", true, [&] { in.name(); }},
                      {"unit", true, [&] { in.text(); }},
                      {"offset", true, [&] { in.number(); }},
                      {"scale", true, [&] { in.number(); }},
                      {"index", true, [&] { in.count(1'000'000); }}});
    };
    in.structure({{"size", true, [&] { in.count(1'000'000); }},
                  {"prior_mean", true, [&] { in.array(ANY, [&] { in.number(); }); }},
                  {"prior_variance", true, [&] { in.array(ANY, [&] { in.positive(); }); }},
                  {"hold", true, [&] { in.count(1'000'000); }},
                  {"factors", true, [&] { in.array(ANY, factor); }},
                  {"exploration", false, [&] { in.positive(); }}});
}

// One frame around a body.
inline Bytes frame(Kind kind, const Writer& out, std::uint64_t session, std::int64_t now_ns) {
    Frame made;
    made.kind = kind;
    made.session = session;
    made.time_ns = now_ns;
    made.payload = out.bytes();
    return encode(made);
}

inline Reader reader(const Frame& frame, Kind kind) {
    if (frame.kind != kind) {
        throw CodecError(std::string(name_of(frame.kind)) + ": expected " + name_of(kind));
    }
    return Reader(name_of(kind), frame.payload);
}

}  // namespace body

inline Bytes encode(const Hello& hello, std::int64_t now_ns) {
    Writer out("HELLO");
    if (hello.observation.size() > ENTRIES_MOST || hello.action.size() > ENTRIES_MOST) {
        throw CodecError("HELLO: more than 256 fields");
    }
    for (const auto* fields : {&hello.observation, &hello.action}) {
        for (const FieldSpec& field : *fields) {
            if (field.shape.size() > 8) throw CodecError("HELLO: " + field.name + ": more than 8 dimensions");
        }
    }
    out.map(7);
    out.key("role"), out.text("robot");
    out.key("name"), out.name(hello.name);
    out.key("digest"), out.text(hello.digest, 64);
    out.key("observation"), body::put(out, hello.observation);
    out.key("action"), body::put(out, hello.action);
    out.key("control_period"), out.number(hello.control_period);
    out.key("simulated_time"), out.boolean(hello.simulated_time);
    return body::frame(Kind::HELLO, out, 0, now_ns);
}

inline Bytes encode_ready(const Numbers& truth, std::uint64_t session, std::int64_t now_ns) {
    Writer out("READY");
    out.map(1);
    out.key("truth"), body::put(out, truth);
    return body::frame(Kind::READY, out, session, now_ns);
}

inline Bytes encode(const Outcome& outcome, std::uint64_t session, std::int64_t now_ns) {
    Writer out("EPISODE_END");
    out.map(6);
    out.key("success"), out.boolean(outcome.success);
    out.key("steps"), out.count(outcome.steps);
    out.key("duration"), out.number(outcome.duration);
    out.key("reason"), out.text(outcome.reason);
    out.key("measures"), body::put(out, outcome.measures);
    out.key("judged_by"), out.text(outcome.judged_by, NAME_MOST);
    return body::frame(Kind::EPISODE_END, out, session, now_ns);
}

inline Bytes encode(const Event& event, std::uint64_t session, std::int64_t now_ns) {
    Writer out("EVENT");
    out.map(4);
    out.key("name"), out.name(event.name);
    out.key("robot"), out.text(event.robot, NAME_MOST);
    out.key("text"), out.text(event.text);
    out.key("number"), out.count(event.number);
    return body::frame(Kind::EVENT, out, session, now_ns);
}

inline Bytes encode(const Stop& stop, std::uint64_t session, std::int64_t now_ns) {
    Writer out("STOP");
    out.map(4);
    out.key("reason"), out.text(stop.reason);
    out.key("closing"), out.boolean(stop.closing);
    out.key("number"), out.count(stop.number);
    out.key("robot"), out.text(stop.robot, NAME_MOST);
    return body::frame(Kind::STOP, out, session, now_ns);
}

inline Bytes encode(const Heartbeat& beat, std::uint64_t session, std::int64_t now_ns) {
    Writer out("HEARTBEAT");
    const auto optional = [&](const std::optional<std::int64_t>& value) {
        value ? out.integer(*value) : out.nil();
    };
    out.map(5);
    out.key("stop"), out.count(beat.stop);
    out.key("latch"), out.count(beat.latch);
    out.key("stopped"), out.boolean(beat.stopped);
    out.key("clock_offset_ns"), optional(beat.clock_offset_ns);
    out.key("round_trip_ns"), optional(beat.round_trip_ns);
    return body::frame(Kind::HEARTBEAT, out, session, now_ns);
}

inline Bytes encode_bye(std::uint64_t session, std::int64_t now_ns) {
    return body::frame(Kind::BYE, Writer("BYE"), session, now_ns);
}

inline Welcome decode_welcome(const Frame& frame) {
    Reader in = body::reader(frame, Kind::WELCOME);
    Welcome made;
    const auto fields = [&](std::vector<Field>& into, bool action) {
        into.clear();
        in.array(ANY, [&] { into.push_back(body::field(in, action)); });
    };
    const auto algorithm = [&] { made.algorithm = in.text(); };
    const auto limits = [&] {
        made.limits.clear();
        in.array(ANY, [&] { made.limits.push_back(body::limit(in)); });
    };
    const auto robots = [&] {
        made.robots.clear();
        in.array(ANY, [&] { made.robots.push_back(in.text()); });
    };
    const auto latches = [&] {
        made.latches.clear();
        for (std::uint64_t left = in.map(); left > 0; --left) {
            const std::string robot = in.text();
            made.latches[robot] = in.count();
        }
    };
    in.structure({{"session", true, [&] { made.session = in.count(); }},
                  {"shadow", true, [&] { made.shadow = in.boolean(); }},
                  {"digest", true, [&] { made.digest = in.text(); }},
                  {"bundle", true, [&] { made.bundle = in.text(); }},
                  {"algorithm", true, algorithm},
                  {"observation", true, [&] { fields(made.observation, false); }},
                  {"action", true, [&] { fields(made.action, true); }},
                  {"control_period", true, [&] { made.control_period = in.number(); }},
                  {"latent", true, [&] { body::latent(in); }},
                  {"limits", true, limits},
                  {"robots", true, robots},
                  {"stop", true, [&] { made.stop = in.count(); }},
                  {"latches", true, latches},
                  {"stopped", true, [&] { made.stopped = in.boolean(); }}});
    in.finish();
    return made;
}

inline Refused decode_refused(const Frame& frame) {
    Reader in = body::reader(frame, Kind::REFUSED);
    Refused made;
    const auto reasons = [&] {
        made.reasons.clear();
        in.array(ENTRIES_MOST, [&] { made.reasons.push_back(in.text(TEXT_MOST)); });
    };
    in.structure({{"reasons", true, reasons}}, true);
    in.finish();
    return made;
}

inline ResetRequest decode_reset(const Frame& frame) {
    Reader in = body::reader(frame, Kind::RESET);
    ResetRequest made;
    in.structure({{"task", true, [&] { made.task = in.count(); }},
                  {"episode", true, [&] { made.episode = in.count(); }},
                  {"seed", true, [&] { made.seed = in.count(); }},
                  {"new_task", true, [&] { made.new_task = in.boolean(); }}});
    in.finish();
    return made;
}

inline Event decode_event(const Frame& frame) {
    Reader in = body::reader(frame, Kind::EVENT);
    Event made;
    in.structure({{"name", true, [&] { made.name = in.name(); }},
                  {"robot", true, [&] { made.robot = in.text(NAME_MOST); }},
                  {"text", true, [&] { made.text = in.text(TEXT_MOST); }},
                  {"number", false, [&] { made.number = in.count(); }}});
    in.finish();
    return made;
}

// A stop whose words cannot be read is a stop all the same, of all.
inline Stop decode_stop(const Frame& frame) {
    Reader in = body::reader(frame, Kind::STOP);
    try {
        Stop made;
        in.structure({{"reason", true, [&] { made.reason = in.text(TEXT_MOST); }},
                      {"closing", false, [&] { made.closing = in.boolean(); }},
                      {"number", false, [&] { made.number = in.count(); }},
                      {"robot", false, [&] { made.robot = in.text(NAME_MOST); }}});
        in.finish();
        return made;
    } catch (const CodecError& error) {
        Stop made;
        made.reason = std::string("why cannot be read: ") + error.what();
        return made;
    }
}

inline Release decode_release(const Frame& frame) {
    Reader in = body::reader(frame, Kind::RELEASE);
    Release made;
    in.structure({{"robot", true, [&] { in.text(NAME_MOST); }},
                  {"stop", true, [&] { made.stop = in.count(); }},
                  {"latch", true, [&] { made.latch = in.count(); }}});
    in.finish();
    return made;
}

inline Heartbeat decode_heartbeat(const Frame& frame) {
    Reader in = body::reader(frame, Kind::HEARTBEAT);
    Heartbeat made;
    const auto optional = [&](std::optional<std::int64_t>& into) {
        into.reset();
        if (!in.nil()) into = in.integer();
    };
    in.structure({{"stop", false, [&] { made.stop = in.count(); }},
                  {"latch", false, [&] { made.latch = in.count(); }},
                  {"stopped", false, [&] { made.stopped = in.boolean(); }},
                  {"clock_offset_ns", false, [&] { optional(made.clock_offset_ns); }},
                  {"round_trip_ns", false, [&] { optional(made.round_trip_ns); }}});
    in.finish();
    return made;
}

}  // namespace acclimate
