package dev.baton.discovery;

import java.net.URI;
import java.util.Locale;
import java.util.regex.Pattern;

/// Where an engine's HTTP server listens. Immutable and thread-safe.
///
/// @param host name, IPv4 address, or IPv6 address without brackets; in lower case
/// @param port 1 to 65535
public record EngineAddress(String host, int port) {
    private static final Pattern NAME = Pattern.compile("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?");
    private static final Pattern IPV6 = Pattern.compile("[0-9a-f:]*:[0-9a-f:.]*(%[a-z0-9_.-]+)?");
    private static final Pattern DIGITS = Pattern.compile("[0-9]{1,5}");
    private static final int MAX_PORT = 65_535;

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

    /// Reads `host:port`, `1.2.3.4:port`, `[::1]:port`, each with or without `http://` before it and `/` behind it.
    ///
    /// @throws DiscoveryException if the text is none of these
    public static EngineAddress parse(String text) {
        String rest = text.strip();
        if (rest.regionMatches(true, 0, "http://", 0, 7)) {
            rest = rest.substring(7);
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
        return new EngineAddress(host, Integer.parseInt(port));
    }

    /// The absolute address of a path on this engine.
    ///
    /// @param path begins with `/`
    public URI uri(String path) {
        return URI.create("http://" + this + path);
    }

    /// `host:port`, an IPv6 host in brackets.
    @Override
    public String toString() {
        return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
    }
}
