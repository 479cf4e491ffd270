// What belongs to this user alone: the certificate that `acclimate keys robot NAME` wrote, and the
// folder of an ipc socket. See docs/security.md.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>

#include "acclimate/error.hpp"
#include "acclimate/text.hpp"

namespace acclimate {

constexpr std::size_t KEY_FILE_BYTES = 64 * 1024;
constexpr std::size_t Z85_KEY = 40;  // characters for 32 bytes

// Keys are Z85, as libzmq takes them.
struct Certificate {
    std::string path;
    std::string name;
    std::string public_key;
    std::string secret_key;
    std::string server_key;
};

namespace keys {

inline void check_owner(const std::string& path, const struct stat& info) {
    if (info.st_uid != geteuid()) {
        throw SetupError(path + ": belongs to user " + std::to_string(info.st_uid) + ", not to us (" +
                         std::to_string(geteuid()) + ")");
    }
    if ((info.st_mode & 077) != 0) {
        throw SetupError(path + ": its mode lets others in; chmod " +
                         (S_ISDIR(info.st_mode) ? "700" : "600") + " it");
    }
}

// Throws SetupError unless only this user (and root) can look into the folder, put anything
// there, or put another folder in its place.
inline void check_folder(const std::string& path) {
    struct stat info {};
    if (lstat(path.c_str(), &info) != 0) throw SetupError(path + ": " + std::strerror(errno));
    if (!S_ISDIR(info.st_mode)) throw SetupError(path + ": a link or no folder");
    check_owner(path, info);
    char* resolved = realpath(path.c_str(), nullptr);
    if (resolved == nullptr) throw SetupError(path + ": " + std::strerror(errno));
    std::string above = resolved;
    std::free(resolved);
    while (above.size() > 1) {
        const std::size_t slash = above.rfind('/');
        above = slash == 0 ? "/" : above.substr(0, slash);
        // In a folder like /tmp, with the sticky bit, others cannot rename what is ours.
        if (stat(above.c_str(), &info) != 0) throw SetupError(above + ": " + std::strerror(errno));
        if ((info.st_mode & 022) != 0 && (info.st_mode & S_ISVTX) == 0) {
            throw SetupError(path + ": others may write to " + above +
                             ", and so put another folder in its place");
        }
    }
}

inline std::string read_private(const std::string& path) {
    // Judged and read through one descriptor, so that nothing can be exchanged in between. Not
    // blocking: a pipe put here must not hold us up.
    const int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) throw SetupError(path + ": " + std::strerror(errno));
    std::string text;
    try {
        struct stat info {};
        if (fstat(file, &info) != 0) throw SetupError(path + ": " + std::strerror(errno));
        if (!S_ISREG(info.st_mode)) throw SetupError(path + ": not a plain file");
        check_owner(path, info);
        char buffer[4096];
        for (ssize_t got = 0; (got = read(file, buffer, sizeof buffer)) != 0;) {
            if (got < 0) throw SetupError(path + ": " + std::strerror(errno));
            text.append(buffer, static_cast<std::size_t>(got));
            if (text.size() > KEY_FILE_BYTES) throw SetupError(path + ": too large for a key");
        }
    } catch (...) {
        close(file);
        throw;
    }
    close(file);
    return text;
}

// Lines of `word = "value"`, without quotes or backslashes within the values, and comments.
inline std::map<std::string, std::string> words(const std::string& path, const std::string& text) {
    std::map<std::string, std::string> found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (line.empty() || line[0] == '#') continue;
        const std::size_t at = line.find(" = \"");
        const std::size_t end = line.size() - 1;
        const bool whole = at != std::string::npos && end >= at + 4 && line[end] == '"';
        const std::string value = whole ? line.substr(at + 4, end - at - 4) : "";
        if (!whole || value.find_first_of("\"\\") != std::string::npos ||
            !found.emplace(line.substr(0, at), value).second) {
            throw SetupError(path + ": a line that is not `word = \"value\"`, or a word twice");
        }
    }
    return found;
}

// $ACCLIMATE_KEYS, or ~/.config/acclimate/keys.
inline std::string default_folder() {
    const char* given = std::getenv("ACCLIMATE_KEYS");
    if (given != nullptr && *given != '\0') return given;
    const char* home = std::getenv("HOME");
    return std::string(home != nullptr ? home : "") + "/.config/acclimate/keys";
}

}  // namespace keys

// The certificate of a robot. where: one file, or a folder of keys that holds
// certificates/NAME.key; "" for the default folder.
inline Certificate read_certificate(const std::string& where, const std::string& name) {
    std::string path = where.empty() ? keys::default_folder() : where;
    struct stat info {};
    if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
        // The name comes from the driver's settings; it must not lead elsewhere.
        if (name.find('/') != std::string::npos) throw SetupError(name + ": no name for a key");
        path += "/certificates/" + name + ".key";
    }
    auto words = keys::words(path, keys::read_private(path));
    if (words["format"] != "acclimate certificate 1") {
        throw SetupError(path + ": format '" + clipped(words["format"], 64) +
                         "'; expected 'acclimate certificate 1'");
    }
    if (words["role"] != "robot" || words["name"] != name) {
        throw SetupError(path + ": made for " + clipped(words["role"], 64) + " '" +
                         clipped(words["name"], 64) + "'; this is robot '" + name + "'");
    }
    if (words.size() != 6) {
        throw SetupError(path + ": expected format, name, role, public, secret and server alone");
    }
    Certificate made{path, name, words["public"], words["secret"], words["server"]};
    for (const std::string* key : {&made.public_key, &made.secret_key, &made.server_key}) {
        unsigned char raw[32];
        // The decoder believes that there are only characters of Z85, and as many as there must be.
        if (key->size() != Z85_KEY || zmq_z85_decode(raw, key->c_str()) == nullptr) {
            throw SetupError(path + ": a key that is not 40 characters of Z85");
        }
    }
    char belongs[Z85_KEY + 1];
    if (zmq_curve_public(belongs, made.secret_key.c_str()) != 0) {
        throw SetupError("this libzmq has no CURVE; tcp needs it");
    }
    if (made.public_key != belongs) {
        throw SetupError(path + ": public and secret do not belong together");
    }
    return made;
}

}  // namespace acclimate
