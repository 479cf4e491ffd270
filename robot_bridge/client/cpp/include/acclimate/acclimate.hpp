// A robot's client of an Acclimate bridge, in C++17 on libzmq. Protocol version 2, docs/protocol.md.
#pragma once

#include "acclimate/client.hpp"
