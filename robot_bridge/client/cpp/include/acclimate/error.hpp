// What can go wrong, one type for each thing that a driver may want to tell apart.
#pragma once

#include <stdexcept>
#include <string>

namespace acclimate {

// Base of everything that this library throws, apart from std::bad_alloc.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A frame, or a message about to be sent, is malformed; the text names the part that is wrong.
struct CodecError : Error {
    using Error::Error;
};

// The bridge refused this robot, or is not the one it was made for; every difference is named.
struct HandshakeError : Error {
    using Error::Error;
};

// The bridge does not answer, or has closed.
struct BridgeLost : Error {
    using Error::Error;
};

// A limit cannot be kept, or a command is no command.
struct LimitError : Error {
    using Error::Error;
};

// An endpoint, a key file or a setting of the driver cannot be used.
struct SetupError : Error {
    using Error::Error;
};

}  // namespace acclimate
