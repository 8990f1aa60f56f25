package dev.baton.http;

/// A whole response.
public record HttpClientResponse(int status, HttpHeaders headers, byte[] body) {
    /// The body as UTF-8 text.
    public String text() {
        return new String(body, java.nio.charset.StandardCharsets.UTF_8);
    }
}
