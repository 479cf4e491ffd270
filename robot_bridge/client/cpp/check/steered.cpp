// A driver that does what it is told, line by line from standard input, so that a test can bring a
// whole client to where no driver of sound mind would be. One line out for each line in:
//
//     steered ENDPOINT
//
//     first NUMBER... | next NUMBER...    an observation; out: the command's mode and numbers
//     check | halt WHY... | stop_all WHY...    out: the mode then
//     until MODE                          checks until the mode is this one

#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "acclimate/acclimate.hpp"

namespace {

using namespace acclimate;

Settings settings(const std::string& endpoint) {
    Settings made;
    made.endpoint = endpoint;
    // A busy machine gets all the time it wants.
    made.patience = 60;
    made.robot.name = "steered";
    made.robot.observation = {{"tip_position", {3}, "m"}, {"wrench", {3}, "N"}};
    made.robot.action = {{"translation", {2}, "m"}, {"yaw", {1}, "rad"}};
    made.robot.control_period = 0.05;
    made.robot.simulated_time = true;
    return made;
}

std::string rest(std::istringstream& in) {
    std::string text;
    std::getline(in >> std::ws, text);
    return text;
}

std::string exchange(RobotClient& robot, std::istringstream& in, bool first) {
    std::vector<float> values;
    for (float value = 0; in >> value;) values.push_back(value);
    Note note;
    note.first = first;
    const Command command = robot.exchange(values, note);
    std::string text = name_of(command.mode);
    for (const float value : command.values) text += " " + general(value);
    return text;
}

std::string answer(RobotClient& robot, const std::string& line) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    if (word == "first" || word == "next") return exchange(robot, in, word == "first");
    if (word == "halt") {
        robot.halt(rest(in));
    } else if (word == "stop_all") {
        robot.stop_all(rest(in));
    } else if (word == "until") {
        const std::string mode = rest(in);
        while (mode != name_of(robot.check())) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    } else if (word == "check") {
        robot.check();
    } else {
        return "no such word: " + word;
    }
    return name_of(robot.state().mode);
}

}  // namespace

int main(int count, char** words) {
    if (count != 2) {
        std::fprintf(stderr, "usage: steered ENDPOINT\n");
        return 2;
    }
    try {
        RobotClient robot(settings(words[1]));
        std::cout << "connected " << robot.connect(60.0).bundle << std::endl;
        for (std::string line; std::getline(std::cin, line);) {
            std::string said;
            try {
                said = answer(robot, line);
            } catch (const Error& error) {
                said = std::string("threw ") + error.what() + " " + name_of(robot.state().mode);
            }
            // At once, into a pipe too.
            std::cout << said << std::endl;
        }
    } catch (const Error& error) {
        std::fprintf(stderr, "steered: %s\n", error.what());
        return 2;
    }
    return 0;
}
