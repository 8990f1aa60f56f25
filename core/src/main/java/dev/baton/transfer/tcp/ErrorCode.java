package dev.baton.transfer.tcp;

/// Why a peer refuses.
enum ErrorCode {
    /// The bytes received are not the protocol.
    PROTOCOL(1),
    /// No protocol version in common.
    VERSION(2),
    /// A field of the compatibility map differs.
    INCOMPATIBLE(3),
    /// Another instance, or another incarnation of it, listens here now.
    WRONG_ENGINE(4),
    /// No lease of that id.
    UNKNOWN_REQUEST(5),
    /// The lease ran out or was dropped.
    LEASE_ENDED(6),
    /// What is asked for is not what the lease covers.
    BAD_REQUEST(7),
    /// The other side does not have the shared key, or this one has none.
    NOT_KNOWN(8),
    /// A code that this version does not know.
    OTHER(0);

    private final int code;

    ErrorCode(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }

    /// Whether the connection is of no more use after it.
    boolean endsConnection() {
        return switch (this) {
            case UNKNOWN_REQUEST, LEASE_ENDED, BAD_REQUEST -> false;
            case PROTOCOL, VERSION, INCOMPATIBLE, WRONG_ENGINE, NOT_KNOWN, OTHER -> true;
        };
    }

    static ErrorCode of(int code) {
        for (ErrorCode candidate : values()) {
            if (candidate.code == code) {
                return candidate;
            }
        }
        return OTHER;
    }
}
