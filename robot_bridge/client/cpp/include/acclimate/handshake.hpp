// Do the driver and the bundle speak of the same robot?
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "acclimate/messages.hpp"
#include "acclimate/text.hpp"

namespace acclimate {

constexpr double PERIOD_TOLERANCE = 1e-9;  // [s]

namespace detail {

inline std::string written(const std::vector<std::uint64_t>& shape) {
    std::string text = "(";
    for (const std::uint64_t extent : shape) text += std::to_string(extent) + ", ";
    return text + ")";
}

template <typename Fields>
std::string names(const Fields& fields) {
    std::string text;
    for (const auto& field : fields) text += (text.empty() ? "" : ", ") + field.name;
    return text;
}

inline std::string of_fields(const std::string& group, const std::vector<Field>& expected,
                             const std::vector<FieldSpec>& found) {
    // Order matters: it is the order in the arrays.
    bool same = expected.size() == found.size();
    for (std::size_t k = 0; same && k < found.size(); ++k) same = expected[k].name == found[k].name;
    if (!same) {
        return group + " fields: expected " + names(expected) + "; found " + names(found) + "; ";
    }
    std::string wrong;
    for (std::size_t k = 0; k < found.size(); ++k) {
        const std::string field = group + " field '" + found[k].name + "': ";
        if (expected[k].shape != found[k].shape) {
            wrong += field + "shape: expected " + written(expected[k].shape) + ", found " +
                     written(found[k].shape) + "; ";
        }
        if (expected[k].unit != found[k].unit) {
            wrong += field + "unit: expected " + expected[k].unit + ", found " + found[k].unit + "; ";
        }
    }
    return wrong;
}

}  // namespace detail

// Each way in which the driver disagrees with what is served; empty when they agree.
inline std::string differences(const Welcome& served, const Hello& hello) {
    std::string wrong;
    if (!hello.digest.empty() && hello.digest != served.digest) {
        wrong += "bundle digest: expected " + served.digest + ", found " + hello.digest + "; ";
    }
    wrong += detail::of_fields("observation", served.observation, hello.observation);
    wrong += detail::of_fields("action", served.action, hello.action);
    // Written so that NaN differs.
    if (!(std::fabs(served.control_period - hello.control_period) <= PERIOD_TOLERANCE)) {
        wrong += "control period: expected " + general(served.control_period) + " s, found " +
                 general(hello.control_period) + " s; ";
    }
    return wrong.substr(0, wrong.size() - (wrong.empty() ? 0 : 2));
}

}  // namespace acclimate
