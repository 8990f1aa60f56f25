package dev.baton.http;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;

/// A request to a server of this very process, over a connection of its own, as a client would send it: to have the
/// way of a request loaded and compiled before a client's comes. Immutable and thread-safe.
public final class LoopbackCall {
    private static final int STATUS_AT = "HTTP/1.1 ".length();
    private static final int STATUS_END = STATUS_AT + 3;

    private final byte[] bytes;

    private LoopbackCall(byte[] bytes) {
        this.bytes = bytes;
    }

    /// A POST of JSON.
    ///
    /// @param headers fields besides the usual ones
    /// @param body becomes JSON
    public static LoopbackCall post(String path, Map<String, String> headers, Object body) {
        byte[] json = Json.bytes(body);
        StringBuilder head = new StringBuilder("POST ")
                .append(path)
                .append(" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ")
                .append(json.length)
                .append("\r\nConnection: close\r\n");
        headers.forEach(
                (name, value) -> head.append(name).append(": ").append(value).append("\r\n"));
        byte[] start = head.append("\r\n").toString().getBytes(StandardCharsets.US_ASCII);
        byte[] request = Arrays.copyOf(start, start.length + json.length);
        System.arraycopy(json, 0, request, start.length, json.length);
        return new LoopbackCall(request);
    }

    /// Sends it and reads the whole answer. Blocks; an interrupt ends it on a virtual thread.
    ///
    /// @param silence longest time without a byte of the answer
    /// @return the status
    /// @throws IOException if there is no such server, or no answer
    public int send(int port, Duration silence) throws IOException {
        int millis = Math.toIntExact(silence.toMillis());
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.ofLiteral("127.0.0.1"), port), millis);
            socket.setSoTimeout(millis);
            socket.getOutputStream().write(bytes);
            byte[] answer = socket.getInputStream().readAllBytes();
            String status = answer.length < STATUS_END
                    ? ""
                    : new String(answer, STATUS_AT, STATUS_END - STATUS_AT, StandardCharsets.US_ASCII);
            if (!status.matches("[0-9]{3}")) {
                throw new IOException("an answer of " + answer.length + " bytes has no status");
            }
            return Integer.parseInt(status);
        }
    }
}
