package dev.baton.transfer.p2p;

import dev.baton.transfer.TransferException;

/// Where an instance's ROUTER listens: its `zmq_address`.
///
/// @param host name or address, an IPv6 one without brackets
record Endpoint(String host, int port) {
    private static final int MAX_PORT = 65_535;

    /// @throws IllegalArgumentException if the port is none
    static Endpoint of(String host, String port) {
        int number;
        try {
            number = Integer.parseInt(port.strip());
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException("\"%s\" is no port".formatted(port), e);
        }
        if (host.isBlank() || number < 1 || number > MAX_PORT) {
            throw new IllegalArgumentException("\"%s:%s\" is no address".formatted(host, port));
        }
        boolean inBrackets = host.startsWith("[") && host.endsWith("]");
        return new Endpoint(inBrackets ? host.substring(1, host.length() - 1) : host, number);
    }

    /// One that a setting names.
    ///
    /// @throws TransferException if it is none; names the settings
    static Endpoint ofSettings(String hostKey, String host, String portKey, String port) {
        try {
            return of(host, port);
        } catch (IllegalArgumentException e) {
            throw new TransferException(
                    "kv_connector_extra_config: %s is \"%s\" and %s \"%s\"; needed: a host and a port"
                            .formatted(hostKey, host, portKey, port),
                    e);
        }
    }

    @Override
    public String toString() {
        return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
    }
}
