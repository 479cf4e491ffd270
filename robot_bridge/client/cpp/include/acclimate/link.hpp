// A robot's end of the connection: the handshake, and frames both ways.
#pragma once

#include <zmq.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "acclimate/bodies.hpp"
#include "acclimate/clock.hpp"
#include "acclimate/error.hpp"
#include "acclimate/frame.hpp"
#include "acclimate/handshake.hpp"
#include "acclimate/keys.hpp"
#include "acclimate/timing.hpp"

namespace acclimate {

constexpr int LINGER_MS = 300;  // for the last word
constexpr int RECONNECT_MS = 50;
constexpr int WAITING = 100;  // frames that may wait for a bridge that does not read
// What CURVE adds to a frame: command name, nonce, authenticator, flags.
constexpr std::int64_t CURVE_BYTES = 33;
constexpr double GLANCE = 0.1;  // between looks at how things stand [s]

inline double seconds_now() { return static_cast<double>(monotonic_ns()) / 1e9; }

// Where the bridge listens, as ZeroMQ takes it: `local`, ipc:///ABSOLUTE/PATH or tcp://HOST:PORT.
inline std::string resolve(const std::string& endpoint) {
    const std::string forms = "; expected local, ipc:///ABSOLUTE/PATH or tcp://HOST:PORT";
    if (endpoint == "local") {
        const char* given = std::getenv("XDG_RUNTIME_DIR");
        if (given != nullptr && given[0] == '/') {
            return std::string("ipc://") + given + "/acclimate/bridge.ipc";
        }
        return "ipc:///tmp/acclimate-" + std::to_string(geteuid()) + "/bridge.ipc";
    }
    if (endpoint.rfind("ipc:///", 0) == 0 && endpoint.size() - 6 <= 107) return endpoint;
    // libzmq judges the rest; `tcp://*:0` and the like are for those who bind.
    const std::size_t colon = endpoint.rfind(':');
    const bool tcp = endpoint.rfind("tcp://", 0) == 0 && colon > 6 && colon + 1 < endpoint.size() &&
                     endpoint.find_first_not_of("0123456789", colon + 1) == std::string::npos &&
                     endpoint.find_first_of("*;/", 6) == std::string::npos;
    if (!tcp) throw SetupError(endpoint + forms);
    return endpoint;
}

// One DEALER socket. Counts as connected from the welcome on. Belongs to one thread.
class Link {
public:
    // keys: over tcp, a folder of keys or one certificate; "" for the default folder.
    Link(const std::string& endpoint, const std::string& name, const std::string& keys)
        : endpoint_(resolve(endpoint)), context_(zmq_ctx_new(), &zmq_ctx_term), socket_(nullptr, &zmq_close),
          fate_(nullptr, &zmq_close) {
        const bool tcp = endpoint_.rfind("tcp://", 0) == 0;
        socket_.reset(context_ ? zmq_socket(context_.get(), ZMQ_DEALER) : nullptr);
        if (!socket_) fail("no socket");
        // Until there is a session, nothing is worth waiting for.
        set(ZMQ_LINGER, 0);
        set(ZMQ_RECONNECT_IVL, RECONNECT_MS);
        // What waits for a bridge that is not there is stale when it comes, and refused by then: a
        // new bridge knows no session of the old one. ZMQ_IMMEDIATE would keep it from waiting, but
        // also throws away what arrived just before the connection broke, a stop for one.
        set(ZMQ_SNDHWM, WAITING);
        const std::int64_t most = HEADER_BYTES + RECORD_BYTES + CURVE_BYTES;
        if (zmq_setsockopt(socket_.get(), ZMQ_MAXMSGSIZE, &most, sizeof most) != 0) fail("its bound");
        if (tcp) {
            secure(read_certificate(keys, name));
        } else {
            const std::string path = endpoint_.substr(6);
            keys::check_folder(path.rfind('/') == 0 ? "/" : path.substr(0, path.rfind('/')));
        }
        if (endpoint_.find('[') != std::string::npos) set(ZMQ_IPV6, 1);
        if (zmq_connect(socket_.get(), endpoint_.c_str()) != 0) fail("connect");
    }

    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    ~Link() {
        if (session_ != 0 && !over_) {
            const int linger = LINGER_MS;
            zmq_setsockopt(socket_.get(), ZMQ_LINGER, &linger, sizeof linger);
            tell(encode_bye(session_, monotonic_ns()));
        }
        // What still speaks to a monitor that is closed waits for it for ever.
        unwatch();
    }

    // Shake hands within timeout [s]. Throws HandshakeError with the reasons, BridgeLost when no bridge
    // answers, CodecError for a hello that no bridge would take.
    Welcome introduce(const Hello& hello, double timeout) {
        const double deadline = seconds_now() + timeout;
        tell(encode(hello, monotonic_ns()));
        bool reached = false;
        for (double left = timeout; left > 0; left = deadline - seconds_now()) {
            std::optional<Frame> frame;
            try {
                frame = receive(std::min(left, GLANCE));
            } catch (const CodecError&) {
                // Not from a bridge, or not whole; what is will come within the time, or not.
                continue;
            }
            reached = look() || reached;
            if (!frame || frame->kind != Kind::WELCOME) continue;
            Welcome welcome = decode_welcome(*frame);
            const std::string wrong = differences(welcome, hello);
            if (!wrong.empty()) throw HandshakeError(endpoint_ + ": served is not ours: " + wrong);
            session_ = welcome.session;
            unwatch();
            return welcome;
        }
        if (reached) {
            throw BridgeLost(endpoint_ + ": something listens there and does not answer " + whose_ +
                             "; `acclimate keys list` on its machine shows its own key");
        }
        throw BridgeLost(endpoint_ + ": no bridge answers; start one with `acclimate bridge`");
    }

    std::uint64_t session() const { return session_; }

    // Send one frame without waiting; false when too many wait already.
    bool tell(const Bytes& data) {
        int sent = -1;
        do {
            sent = zmq_send(socket_.get(), data.data(), data.size(), ZMQ_DONTWAIT);
        } while (sent < 0 && zmq_errno() == EINTR);
        return sent >= 0;
    }

    // Send one frame. Throws when the bridge is known to be gone.
    void send(const Bytes& data) {
        check_over();
        if (!tell(data)) throw BridgeLost(endpoint_ + ": the bridge is gone");
    }

    // The next frame within timeout [s], if any. Throws BridgeLost when the bridge closes,
    // HandshakeError when it refuses us, CodecError for a frame that it cannot have sent. The first
    // two are final: from then on every call throws the same.
    std::optional<Frame> receive(double timeout) {
        check_over();
        Part part;
        if (!part.receive(socket_.get(), timeout)) return std::nullopt;
        const auto* data = static_cast<const std::uint8_t*>(zmq_msg_data(&part.message));
        Frame frame = decode(data, zmq_msg_size(&part.message));
        heard_ = seconds_now();
        if (frame.kind == Kind::REFUSED) {
            std::string reasons;
            for (const std::string& reason : decode_refused(frame).reasons) {
                reasons += (reasons.empty() ? "" : "; ") + reason;
            }
            over_ = endpoint_ + ": refused: " + reasons;
            refused_ = true;
        } else if (frame.kind == Kind::STOP) {
            const Stop stop = decode_stop(frame);
            if (stop.closing) over_ = endpoint_ + ": the bridge closed: " + stop.reason;
        }
        check_over();
        return frame;
    }

    // Seconds since the bridge was last heard.
    double quiet() const { return seconds_now() - heard_; }

    void check_alive() const {
        if (quiet() <= BRIDGE_LOST) return;
        throw BridgeLost(endpoint_ + ": nothing from the bridge for " + general(quiet()) + " s");
    }

private:
    struct Part {
        zmq_msg_t message;

        Part() { zmq_msg_init(&message); }
        ~Part() { zmq_msg_close(&message); }
        Part(const Part&) = delete;
        Part& operator=(const Part&) = delete;

        bool receive(void* socket, double timeout) {
            const double deadline = seconds_now() + timeout;
            for (double left = timeout;; left = deadline - seconds_now()) {
                const bool wait = left > 0;
                // Rounded up: a wait of 0 ms would spin.
                const int wait_ms = static_cast<int>(std::min(left, 1e6) * 1000) + 1;
                if (wait) zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
                if (zmq_msg_recv(&message, socket, wait ? 0 : ZMQ_DONTWAIT) >= 0) return true;
                // A signal is the driver's affair; it does not shorten the wait.
                if (zmq_errno() != EINTR) return false;
            }
        }
    };

    void secure(const Certificate& held) {
        whose_ = held.path;
        const auto put = [&](int option, const std::string& key) {
            if (zmq_setsockopt(socket_.get(), option, key.c_str(), key.size() + 1) != 0) {
                fail("its keys");
            }
        };
        put(ZMQ_CURVE_SERVERKEY, held.server_key);
        put(ZMQ_CURVE_PUBLICKEY, held.public_key);
        put(ZMQ_CURVE_SECRETKEY, held.secret_key);
        const char* fate = "inproc://fate";
        const int events = ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_CONNECTED;
        if (zmq_socket_monitor(socket_.get(), fate, events) != 0) fail("its monitor");
        fate_.reset(zmq_socket(context_.get(), ZMQ_PAIR));
        if (!fate_ || zmq_connect(fate_.get(), fate) != 0) fail("its monitor");
    }

    // Whether a connection was made, if not yet its handshake. Throws HandshakeError when the bridge
    // refuses our key.
    bool look() {
        bool made = false;
        while (fate_) {
            Part event, address;
            if (!event.receive(fate_.get(), 0)) break;
            std::uint16_t number = 0;
            if (zmq_msg_size(&event.message) >= sizeof number) {
                std::memcpy(&number, zmq_msg_data(&event.message), sizeof number);
            }
            address.receive(fate_.get(), 0);
            if (number == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
                throw HandshakeError(endpoint_ + ": refused: " + whose_ + " is unknown there or revoked");
            }
            made = made || number == ZMQ_EVENT_CONNECTED;
        }
        return made;
    }

    void unwatch() {
        if (!fate_) return;
        zmq_socket_monitor(socket_.get(), nullptr, 0);
        fate_.reset();
    }

    void set(int option, int value) {
        if (zmq_setsockopt(socket_.get(), option, &value, sizeof value) != 0) fail("its settings");
    }

    void check_over() const {
        if (!over_) return;
        if (refused_) throw HandshakeError(*over_);
        throw BridgeLost(*over_);
    }

    [[noreturn]] void fail(const std::string& what) const {
        throw SetupError(endpoint_ + ": " + what + ": " + zmq_strerror(zmq_errno()));
    }

    std::string endpoint_;
    std::string whose_;
    // Closed in the opposite order: what a context still has open holds up its end.
    std::unique_ptr<void, int (*)(void*)> context_;
    std::unique_ptr<void, int (*)(void*)> socket_;
    std::unique_ptr<void, int (*)(void*)> fate_;
    std::uint64_t session_ = 0;
    double heard_ = 0;
    std::optional<std::string> over_;  // why nothing more will come
    bool refused_ = false;
};

}  // namespace acclimate
