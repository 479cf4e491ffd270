// What travels, with units. Times are nanoseconds on the sender's monotonic clock; arrays are in the
// order and units of the bundle's fields. The words are those of docs/protocol.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace acclimate {

constexpr std::uint8_t PROTOCOL = 1;

enum class Kind : std::uint8_t {
    HELLO = 1,
    WELCOME,
    REFUSED,
    OBSERVATION,
    COMMAND,
    BEGIN,
    RESET,
    READY,
    EPISODE_END,
    EPISODE_RECORD,
    EVENT,
    STOP,
    RELEASE,
    HEARTBEAT,
    BYE,
    MODEL,
    BELIEF,
    REPLY,
    STATUS,
};

constexpr const char* NAMES[] = {
    "",      "HELLO", "WELCOME",     "REFUSED",        "OBSERVATION", "COMMAND", "BEGIN",
    "RESET", "READY", "EPISODE_END", "EPISODE_RECORD", "EVENT",       "STOP",    "RELEASE",
    "HEARTBEAT", "BYE", "MODEL",     "BELIEF",         "REPLY",       "STATUS",
};
constexpr std::uint8_t KINDS = 19;

inline const char* name_of(Kind kind) { return NAMES[static_cast<std::uint8_t>(kind)]; }

// What a robot does with a command, mildest first.
enum class Mode : std::uint8_t {
    TRACK,  // follow the numbers
    HOLD,   // stay where you are
    DAMP,   // no stiffness, only damping
    STOP,   // latched: no motion until an operator releases it
};

inline const char* name_of(Mode mode) {
    constexpr const char* names[] = {"TRACK", "HOLD", "DAMP", "STOP"};
    return names[static_cast<std::uint8_t>(mode)];
}

// Header flags of an observation.
namespace flag {
constexpr std::uint16_t FIRST = 1;      // of an episode: no command came before it
constexpr std::uint16_t LAST = 2;       // of an episode: no command follows
constexpr std::uint16_t TERMINAL = 4;   // the task itself ended here; nothing was cut off
constexpr std::uint16_t UNAPPLIED = 8;  // the command before was not followed as sent
}  // namespace flag

// What the robot says about itself; any bit stops it.
namespace fault {
constexpr std::uint32_t EMERGENCY_STOP = 1;
constexpr std::uint32_t PROTECTIVE_STOP = 2;
constexpr std::uint32_t SENSOR = 4;
constexpr std::uint32_t ACTUATOR = 8;
constexpr std::uint32_t OVERHEATED = 16;
constexpr std::uint32_t OTHER = 1U << 31;
}  // namespace fault

struct Observation {
    std::uint64_t sequence = 0;
    std::int64_t time_ns = 0;
    std::vector<float> values;  // (n_o,)
    float reward = 0;           // measured for the previous command
    std::uint16_t flags = 0;
    std::uint32_t faults = 0;
};

struct Command {
    std::uint64_t sequence = 0;  // of the observation answered
    std::int64_t validity_ns = 0;
    Mode mode = Mode::HOLD;
    std::vector<float> values;  // (n_a,), to be followed in mode TRACK alone
    std::uint32_t belief_version = 0;
    std::int64_t received_ns = 0;  // on the bridge's clock
    std::int64_t sent_ns = 0;
    bool shadow = false;  // the bridge only watches; the mode is never TRACK
};

// What a driver says about one field of its observations or commands.
struct FieldSpec {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::string unit;
};

// What the bundle says about it. scale, offset: of an action field, else 0.
struct Field : FieldSpec {
    double low = 0;
    double high = 0;
    double scale = 0;
    double offset = 0;

    std::uint64_t size() const;
};

struct Limit {
    std::string quantity;  // position, velocity, effort, workspace, force or rate
    std::string field;
    double low = 0;
    double high = 0;
    std::string unit;
    std::string reason;
    std::vector<std::uint64_t> elements;  // empty for all
};

struct Hello {
    std::string name;
    std::string digest;  // of the bundle that the driver was made for; empty for any that fits
    std::vector<FieldSpec> observation;
    std::vector<FieldSpec> action;
    double control_period = 0;  // [s]
    bool simulated_time = false;
};

// A Latent is checked on its way in and not kept: it says nothing to a driver.
struct Welcome {
    std::uint64_t session = 0;
    bool shadow = false;
    std::string digest;
    std::string bundle;
    std::string algorithm;
    std::vector<Field> observation;
    std::vector<Field> action;
    double control_period = 0;  // [s]
    std::vector<Limit> limits;
    std::vector<std::string> robots;
    std::uint64_t stop = 0;
    std::map<std::string, std::uint64_t> latches;
    bool stopped = false;
};

struct Refused {
    std::vector<std::string> reasons;
};

// Bring the robot to the start of this episode, then say ready.
struct ResetRequest {
    std::uint64_t task = 0;
    std::uint64_t episode = 0;
    std::uint64_t seed = 0;
    bool new_task = false;
};

using Numbers = std::map<std::string, double>;

// How an episode ended. duration [s]; measures: further measured values [SI]; judged_by: the one of
// them that says how good the episode was, empty where success says it.
struct Outcome {
    bool success = false;
    std::uint64_t steps = 0;
    double duration = 0;
    std::string reason;
    Numbers measures;
    std::string judged_by;
};

struct Event {
    std::string name;
    std::string robot;
    std::string text;
    std::uint64_t number = 0;
};

struct Stop {
    std::string reason;
    bool closing = false;
    std::uint64_t number = 0;
    std::string robot;
};

struct Release {
    std::uint64_t stop = 0;
    std::uint64_t latch = 0;
};

struct Heartbeat {
    std::uint64_t stop = 0;
    std::uint64_t latch = 0;
    bool stopped = false;
    std::optional<std::int64_t> clock_offset_ns;
    std::optional<std::int64_t> round_trip_ns;
};

inline std::uint64_t Field::size() const {
    // No frame holds so many; a product that is kept small cannot run over either.
    constexpr std::uint64_t most = 1U << 20;
    std::uint64_t size = 1;
    for (const std::uint64_t extent : shape) size = std::min(most, size * std::min(most, extent));
    return size;
}

}  // namespace acclimate
