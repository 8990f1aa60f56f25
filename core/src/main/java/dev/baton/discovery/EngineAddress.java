package dev.baton.discovery;

import java.net.URI;
import java.util.Locale;
import java.util.regex.Pattern;

/// Where an engine's HTTP server listens. Immutable and thread-safe.
///
/// @param host name, IPv4 address, or IPv6 address without brackets; in lower case
/// @param port 1 to 65535
/// @param secure whether it speaks TLS
public record EngineAddress(String host, int port, boolean secure) {
    private static final Pattern NAME = Pattern.compile("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?");
    private static final Pattern IPV6 = Pattern.compile("[0-9a-f:]*:[0-9a-f:.]*(%[a-z0-9_.-]+)?");
    private static final Pattern DIGITS = Pattern.compile("[0-9]{1,5}");
    private static final int MAX_PORT = 65_535;

    /// One that speaks plain text.
    ///
    /// @throws DiscoveryException if the host is no name or address, or the port is out of range
    public EngineAddress(String host, int port) {
        this(host, port, false);
    }

    /// @throws DiscoveryException if the host is no name or address, or the port is out of range
    public EngineAddress {
        host = host.toLowerCase(Locale.ROOT);
        if (!NAME.matcher(host).matches() && !IPV6.matcher(host).matches()) {
            throw new DiscoveryException(
                    "'" + host + "' is not a host name (letters, digits, '-' and '.'), IPv4 or " + "IPv6 address");
        }
        if (port < 1 || port > MAX_PORT) {
            throw new DiscoveryException("port " + port + " of " + host + " is not between 1 and " + MAX_PORT);
        }
    }

    /// Reads `host:port`, `1.2.3.4:port`, `[::1]:port`, each with or without `http://` before it and `/` behind it;
    /// with `https://` before it, it speaks TLS.
    ///
    /// @throws DiscoveryException if the text is none of these
    public static EngineAddress parse(String text) {
        String rest = text.strip();
        boolean secure = rest.regionMatches(true, 0, "https://", 0, 8);
        if (secure || rest.regionMatches(true, 0, "http://", 0, 7)) {
            rest = rest.substring(secure ? 8 : 7);
            if (rest.endsWith("/")) {
                rest = rest.substring(0, rest.length() - 1);
            }
        }
        int colon = rest.lastIndexOf(':');
        String host = colon < 0 ? "" : rest.substring(0, colon);
        String port = rest.substring(colon + 1);
        boolean bracketed = host.startsWith("[") && host.endsWith("]");
        if (bracketed) {
            host = host.substring(1, host.length() - 1);
        }
        boolean colonsFit = bracketed == host.contains(":");
        if (host.isEmpty() || !colonsFit || !DIGITS.matcher(port).matches()) {
            throw new DiscoveryException("'" + text + "' is not an engine address: write host:port, for example "
                    + "10.0.0.1:8100 or [::1]:8100");
        }
        return new EngineAddress(host, Integer.parseInt(port), secure);
    }

    /// The absolute address of a path on this engine.
    ///
    /// @param path begins with `/`
    public URI uri(String path) {
        return URI.create((secure ? "" : "http://") + this + path);
    }

    /// `host:port`, an IPv6 host in brackets, after `https://` if it speaks TLS.
    @Override
    public String toString() {
        return (secure ? "https://" : "") + (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
    }
}
