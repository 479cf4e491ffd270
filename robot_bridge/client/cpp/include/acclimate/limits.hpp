// Margins of one robot, from the welcome: what a command may ask, what a measurement may show. The
// same numbers as robot_bridge/safety/limits.py gives, in float32 as there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "acclimate/error.hpp"
#include "acclimate/messages.hpp"
#include "acclimate/text.hpp"

namespace acclimate {

// A clamped command counts as changed only beyond rounding: float32 holds 7 digits.
constexpr float ROUNDING = 1e-6F;
// More numbers than a frame carries belong to no robot.
constexpr std::size_t SIZE_MOST = 16 * 1024;

class Limits {
public:
    struct Clamped {
        std::vector<float> values;
        std::vector<std::string> changed;  // names of fields
    };

    struct Broken {
        Mode mode;
        std::string reason;
    };

    // period: control period [s]. Throws LimitError for a limit that nothing here could keep.
    Limits(const std::vector<Field>& observation, const std::vector<Field>& action,
           const std::vector<Limit>& limits, double period)
        : observation_(spread(observation)), action_(spread(action)) {
        for (const Element& element : observation_) {
            valid_.push_back({narrow(element.field.low), narrow(element.field.high)});
        }
        for (const Element& element : action_) {
            const Field& field = element.field;
            scale_.push_back(narrow(field.scale));
            offset_.push_back(narrow(field.offset));
            range_.push_back({narrow(std::max(field.low, field.offset - field.scale)),
                              narrow(std::min(field.high, field.offset + field.scale))});
        }
        change_.assign(action_.size(), Bounds{});
        level_.assign(observation_.size(), Bounds{});
        jump_.assign(observation_.size(), Bounds{});
        for (const Limit& limit : limits) add(limit, period);
        check_room();
    }

    std::size_t observation_size() const { return observation_.size(); }
    std::size_t action_size() const { return action_.size(); }

    // before: the command followed in the period before; null where there was none: the robot stood
    // still, so the change counts from the offset. allowed: part of a period's change, for a command
    // that comes early; above 0. Throws LimitError for what is not finite or of another size.
    Clamped clamp(const std::vector<float>& command, const std::vector<float>* before,
                  double allowed = 1.0) const {
        const float part = narrow(allowed);
        if (command.size() != action_.size()) {
            throw LimitError("command of " + std::to_string(command.size()) +
                             " numbers; expected " + std::to_string(action_.size()));
        }
        for (std::size_t k = 0; k < command.size(); ++k) {
            if (std::isfinite(command[k])) continue;
            throw LimitError("command[" + std::to_string(k) + "] (" + action_[k].field.name +
                             ") is " + general(command[k]));
        }
        Clamped made;
        made.values.reserve(command.size());
        for (std::size_t k = 0; k < command.size(); ++k) {
            const float from = before == nullptr ? offset_[k] : (*before)[k];
            const float low = std::max(range_[k].low, from + part * change_[k].low);
            const float high = std::min(range_[k].high, from + part * change_[k].high);
            const float within = std::min(std::max(command[k], low), high);
            made.values.push_back(within);
            if (!(std::fabs(within - command[k]) > ROUNDING * scale_[k])) continue;
            const std::string& name = action_[k].field.name;
            if (std::find(made.changed.begin(), made.changed.end(), name) == made.changed.end()) {
                made.changed.push_back(name);
            }
        }
        return made;
    }

    // Why an observation cannot be what the robot measured; "" when it can.
    std::string invalid(const std::vector<float>& observation) const {
        if (observation.size() != observation_.size()) {
            return std::string("too ") + (observation.size() < observation_.size() ? "few" : "many") +
                   " numbers: " + std::to_string(observation.size()) +
                   "; the bundle's fields have " + std::to_string(observation_.size());
        }
        for (std::size_t k = 0; k < observation.size(); ++k) {
            // Also where a bound is more than float32 holds.
            if (std::isfinite(observation[k]) && valid_[k].hold(observation[k])) continue;
            const auto& [field, index] = observation_[k];
            const char* cause = std::isfinite(observation[k]) ? "outside its field: " : "not finite: ";
            return cause + field.name + "[" + std::to_string(index) + "] is " + general(observation[k]) +
                   " " + field.unit + "; expected " + general(field.low) + " to " +
                   general(field.high);
        }
        return "";
    }

    // The strictest response to margins that a valid observation breaks, and why. before: the one of
    // the period before; null at the start of an episode. elapsed: since then [control periods].
    std::optional<Broken> broken(const std::vector<float>& observation,
                                 const std::vector<float>* before, double elapsed = 1.0) const {
        const bool jumps = before != nullptr && jumps_;
        std::vector<float> change(jumps ? observation.size() : 0);
        bool inside = true;
        for (std::size_t k = 0; k < observation.size(); ++k) {
            if (jumps) change[k] = (observation[k] - (*before)[k]) / narrow(elapsed);
            inside = inside && level_[k].hold(observation[k]) && (!jumps || jump_[k].hold(change[k]));
        }
        std::optional<Broken> found;
        if (inside) return found;
        for (const Margin& margin : margins_) {
            const Limit& limit = margin.limit;
            const bool rate = limit.quantity == "rate";
            const Mode mode =
                limit.quantity == "position" || limit.quantity == "workspace" ? Mode::HOLD : Mode::DAMP;
            if ((rate && !jumps) || (found && mode <= found->mode)) continue;
            const Bounds bounds{narrow(limit.low), narrow(limit.high)};
            for (const std::size_t k : margin.where) {
                const float value = (rate ? change[k] : observation[k]) / margin.period;
                if (bounds.hold(value)) continue;
                found = Broken{mode, limit.quantity + " " + limit.field + " is " + general(value) +
                                         " " + limit.unit + "; the limit is " + general(limit.low) +
                                         " to " + general(limit.high) + " (" + limit.reason + ")"};
                break;
            }
        }
        return found;
    }

private:
    struct Bounds {
        float low = -std::numeric_limits<float>::infinity();
        float high = std::numeric_limits<float>::infinity();

        // NaN is in no range.
        bool hold(float value) const { return value >= low && value <= high; }
        bool limited() const { return std::isfinite(low) || std::isfinite(high); }
    };

    // One number of an array, and the field that it belongs to.
    struct Element {
        Field field;
        std::size_t index;
    };

    struct Margin {
        std::vector<std::size_t> where;
        Limit limit;
        float period;  // that a rate is per; 1 for everything else
    };

    static float narrow(double value) {
        constexpr double most = std::numeric_limits<float>::max();
        if (value > most) return std::numeric_limits<float>::infinity();
        if (value < -most) return -std::numeric_limits<float>::infinity();
        return static_cast<float>(value);
    }

    static std::vector<Element> spread(const std::vector<Field>& fields) {
        std::vector<Element> elements;
        for (const Field& field : fields) {
            const std::size_t size = static_cast<std::size_t>(field.size());
            if (elements.size() + size > SIZE_MOST) {
                throw LimitError("more than " + std::to_string(SIZE_MOST) + " numbers, up to field '" +
                                 field.name + "'; no frame carries them");
            }
            for (std::size_t k = 0; k < size; ++k) elements.push_back({field, k});
        }
        return elements;
    }

    static std::vector<std::size_t> places(const std::vector<Element>& elements, const Limit& limit) {
        std::vector<std::size_t> every;
        for (std::size_t k = 0; k < elements.size(); ++k) {
            if (elements[k].field.name == limit.field) every.push_back(k);
        }
        if (every.empty() || limit.elements.empty()) return every;
        std::vector<std::size_t> some;
        for (const std::uint64_t element : limit.elements) {
            if (element >= every.size()) {
                throw LimitError("limit on '" + limit.field + "': element " +
                                 std::to_string(element) + "; it has " +
                                 std::to_string(every.size()));
            }
            some.push_back(every[static_cast<std::size_t>(element)]);
        }
        return some;
    }

    void add(const Limit& limit, double period) {
        if (std::isnan(limit.low) || std::isnan(limit.high)) {
            throw LimitError("limit on '" + limit.field + "': its range is no range");
        }
        const bool rate = limit.quantity == "rate";
        const double factor = rate ? period : 1.0;
        const Bounds bounds{narrow(limit.low * factor), narrow(limit.high * factor)};
        const auto narrowed = [&](std::vector<Bounds>& all, const std::vector<std::size_t>& where) {
            for (const std::size_t k : where) {
                all[k].low = std::max(all[k].low, bounds.low);
                all[k].high = std::min(all[k].high, bounds.high);
            }
        };
        if (const auto where = places(action_, limit); !where.empty()) {
            narrowed(rate ? change_ : range_, where);
            return;
        }
        const auto where = places(observation_, limit);
        if (where.empty()) throw LimitError("limit on '" + limit.field + "': no such field");
        narrowed(rate ? jump_ : level_, where);
        margins_.push_back({where, limit, narrow(factor)});
        for (const Bounds& jump : jump_) jumps_ = jumps_ || jump.limited();
    }

    void check_room() const {
        for (std::size_t k = 0; k < action_.size(); ++k) {
            const std::string name = "the limits leave action field '" + action_[k].field.name;
            // A manifest's numbers are float64. One that float32 does not hold becomes infinite,
            // and is no bound.
            if (!(std::isfinite(scale_[k]) && std::isfinite(range_[k].low) &&
                  std::isfinite(range_[k].high))) {
                throw LimitError(name + "' without a bound: scale " + general(scale_[k]) +
                                 ", range " + general(range_[k].low) + " to " +
                                 general(range_[k].high) + "; expected what float32 holds, at most " +
                                 general(std::numeric_limits<float>::max()));
            }
            // Written so that NaN leaves no room either.
            if (!(range_[k].low < range_[k].high)) {
                throw LimitError(name + "' no room: its ranges must overlap");
            }
            if (change_[k].limited() &&
                !(range_[k].low <= offset_[k] && range_[k].high >= offset_[k])) {
                throw LimitError(name + "' no room: its rate counts from its offset " +
                                 general(offset_[k]) + ", where a robot that stands still starts, "
                                 "and its range does not hold that");
            }
        }
        for (const auto* all : {&change_, &jump_}) {
            for (const Bounds& bounds : *all) {
                if (bounds.low <= 0 && bounds.high >= 0) continue;
                throw LimitError("the limits leave a field no room: a rate's low and high must lie "
                                 "on either side of 0");
            }
        }
    }

    std::vector<Element> observation_;
    std::vector<Element> action_;
    std::vector<Bounds> valid_;
    std::vector<float> scale_;
    std::vector<float> offset_;
    std::vector<Bounds> range_;
    std::vector<Bounds> change_;  // per control period
    std::vector<Bounds> level_;
    std::vector<Bounds> jump_;  // per control period
    std::vector<Margin> margins_;
    bool jumps_ = false;
};

}  // namespace acclimate
