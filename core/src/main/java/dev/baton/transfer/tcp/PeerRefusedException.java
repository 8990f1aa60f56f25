package dev.baton.transfer.tcp;

import java.io.IOException;

/// The peer answered, and the answer is no: an ERROR frame, sent or received. Trying again does not help.
final class PeerRefusedException extends IOException {
    private final ErrorCode code;

    PeerRefusedException(ErrorCode code, String message) {
        super(message);
        this.code = code;
    }

    ErrorCode code() {
        return code;
    }
}
