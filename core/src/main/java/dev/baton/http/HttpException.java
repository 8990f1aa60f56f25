package dev.baton.http;

import io.netty.channel.ConnectTimeoutException;
import java.net.UnknownHostException;
import java.util.concurrent.TimeoutException;

/// A failure of the HTTP shell: a server that cannot start, or a call that got no (complete) response. The
/// message is one sentence for a person; [#kind()] is for the program.
public final class HttpException extends RuntimeException {
    /// What went wrong.
    public enum Kind {
        /// The server could not be started, for example because its port is taken; or a certificate cannot be used.
        BIND,
        /// No connection could be made; nothing was sent.
        CONNECT,
        /// A deadline passed.
        TIMEOUT,
        /// The connection ended before the response did.
        CLOSED,
        /// The call was cancelled from this side.
        CANCELLED,
        /// The response was larger than the caller allowed.
        TOO_LARGE,
        /// Bytes that are not HTTP, or JSON that is not JSON.
        PROTOCOL
    }

    private final Kind kind;

    public HttpException(Kind kind, String message) {
        super(message);
        this.kind = kind;
    }

    public HttpException(Kind kind, String message, Throwable cause) {
        super(message, cause);
        this.kind = kind;
    }

    public Kind kind() {
        return kind;
    }

    /// Whether a connection could not be made because nothing came back, or the host's name was not found, rather
    /// than because the host said that nobody listens: packets may be lost, and name servers busy.
    public boolean isUnanswered() {
        Throwable cause = getCause();
        return kind == Kind.CONNECT
                && (cause instanceof ConnectTimeoutException
                        || cause instanceof UnknownHostException
                        || cause instanceof TimeoutException);
    }
}
