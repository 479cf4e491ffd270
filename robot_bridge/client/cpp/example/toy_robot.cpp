// A driver to copy from: a tip on a spring-loaded table, for any bundle of the fields
//
//     tip_position (3,) [m], wrench (3,) [N]  →  translation (2,) [m], yaw (1,) [rad]
//
//     toy_robot ENDPOINT [--name N] [--keys PATH] [--period S] [--steps N] [--patience S]
//               [--simulated] [--blind-at STEP] [--push-at STEP]
//
// --blind-at: from this step of an episode on, its sensor gives NaN. --push-at: its own protective
// stop fires. Says what it does, line by line, on standard output.

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "acclimate/acclimate.hpp"

namespace {

volatile std::sig_atomic_t interrupted = 0;

void interrupt(int) { interrupted = 1; }

// The world: it does what a TRACK says, and nothing otherwise.
struct Tip {
    float position[3] = {0, 0, 0};

    void follow(const acclimate::Command& command) {
        if (command.mode != acclimate::Mode::TRACK) return;
        for (int axis = 0; axis < 2; ++axis) position[axis] += command.values[axis];
    }

    // (6,): position [m], wrench [N] of a spring of 20 N/m.
    std::vector<float> measure(bool blind) const {
        std::vector<float> values(position, position + 3);
        for (const float along : position) values.push_back(-20.0F * along);
        if (blind) values[0] = std::nanf("");
        return values;
    }
};

struct Choice {
    std::map<std::string, std::string> words;

    double number(const std::string& word, double otherwise) const {
        const auto found = words.find(word);
        return found == words.end() ? otherwise : std::atof(found->second.c_str());
    }
};

acclimate::Outcome episode(acclimate::RobotClient& robot, const Choice& choice, bool simulated) {
    const double period = robot.welcome().control_period;
    const int horizon = static_cast<int>(choice.number("--steps", 20));
    const int blind_at = static_cast<int>(choice.number("--blind-at", -1));
    const int push_at = static_cast<int>(choice.number("--push-at", -1));
    auto due = std::chrono::steady_clock::now();
    Tip tip;
    robot.ready({{"socket_x", 0.5}});
    acclimate::Note note;
    note.first = true;
    int step = 0;
    acclimate::Command command = robot.exchange(tip.measure(false), note);
    while (command.mode != acclimate::Mode::STOP && step < horizon && interrupted == 0) {
        tip.follow(command);
        if (!simulated) {
            // Late by whole periods: skip them; to hurry after them would move the robot too fast.
            const auto now = std::chrono::steady_clock::now();
            do {
                due += std::chrono::nanoseconds(std::llround(period * 1e9));
            } while (due < now);
            std::this_thread::sleep_until(due);
        }
        ++step;
        note = {};
        note.reward = -std::fabs(tip.position[0]);
        note.last = step == horizon;
        note.faults = step == push_at ? acclimate::fault::PROTECTIVE_STOP : 0;
        command = robot.exchange(tip.measure(blind_at >= 0 && step >= blind_at), note);
        std::printf("step %d %s %s\n", step, name_of(command.mode), robot.state().reason.c_str());
    }
    acclimate::Outcome outcome;
    outcome.success = step == horizon && command.mode != acclimate::Mode::STOP;
    outcome.steps = static_cast<std::uint64_t>(step);
    outcome.duration = step * period;
    outcome.reason = robot.stopped() ? robot.state().reason : "time is up";
    outcome.measures = {{"distance", std::fabs(static_cast<double>(tip.position[0]))}};
    return outcome;
}

int drive(const std::string& endpoint, const Choice& choice) {
    const bool simulated = choice.words.count("--simulated") != 0;
    const auto word = [&](const char* name, const char* otherwise) {
        const auto found = choice.words.find(name);
        return found == choice.words.end() ? std::string(otherwise) : found->second;
    };
    acclimate::Settings settings;
    settings.endpoint = endpoint;
    settings.keys = word("--keys", "");
    settings.patience = choice.number("--patience", 0);
    settings.robot.name = word("--name", "toy");
    settings.robot.observation = {{"tip_position", {3}, "m"}, {"wrench", {3}, "N"}};
    settings.robot.action = {{"translation", {2}, "m"}, {"yaw", {1}, "rad"}};
    settings.robot.control_period = choice.number("--period", 0.05);
    settings.robot.simulated_time = simulated;
    acclimate::RobotClient robot(settings);
    std::printf("connected %s\n", robot.connect(30.0).bundle.c_str());
    bool stopped = false;
    const auto tell = [&] {
        if (robot.stopped() == stopped) return;
        stopped = robot.stopped();
        std::printf("%s %s\n", stopped ? "stopped" : "free", robot.state().reason.c_str());
    };
    while (interrupted == 0) {
        tell();
        const auto reset = robot.wait_reset(0.2);
        tell();
        if (!reset) continue;
        std::printf("reset %llu\n", static_cast<unsigned long long>(reset->episode));
        const acclimate::Outcome outcome = episode(robot, choice, simulated);
        std::printf("end %s\n", outcome.reason.c_str());
        robot.end_episode(outcome);
    }
    return 0;
}

}  // namespace

int main(int count, char** words) {
    // Line by line, also into a pipe.
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    std::signal(SIGINT, interrupt);
    std::signal(SIGTERM, interrupt);
    Choice choice;
    for (int k = 2; k < count; ++k) {
        const std::string word = words[k];
        const bool lone = word == "--simulated" || k + 1 == count;
        choice.words[word] = lone ? "" : words[++k];
    }
    if (count < 2) {
        std::fprintf(stderr, "usage: toy_robot ENDPOINT [--name N] [--keys PATH] ...\n");
        return 2;
    }
    try {
        return drive(words[1], choice);
    } catch (const acclimate::Error& error) {
        std::fprintf(stderr, "toy_robot: %s\n", error.what());
        return 2;
    }
}
