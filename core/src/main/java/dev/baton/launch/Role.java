package dev.baton.launch;

import java.net.URI;
import java.util.List;
import java.util.Map;

/// One process of a deployment.
///
/// @param name also the name of its log file, without `.log`
/// @param host where it listens
/// @param port its HTTP port
/// @param portFlag the flag of `baton up` that decides the port
/// @param arguments its command line after `baton`
/// @param variables of its environment, besides those that it inherits
public record Role(
        Kind kind,
        String name,
        String host,
        int port,
        String portFlag,
        List<String> arguments,
        Map<String, String> variables) {
    public Role {
        arguments = List.copyOf(arguments);
        variables = Map.copyOf(variables);
    }

    /// What a process does. The order is the order of starting; stopping runs backwards.
    public enum Kind {
        PREFILLER,
        DECODER,
        ROUTER
    }

    /// Answers 200 once the role can work; the router can once it has seen every engine up.
    public URI readyUri() {
        String path = switch (kind) {
            case PREFILLER, DECODER -> "/health";
            case ROUTER -> "/ready";
        };
        return URI.create("http://" + address() + path);
    }

    /// Host and port as the router's flags take them, an IPv6 host in brackets.
    public String address() {
        boolean bare = host.contains(":") && !host.startsWith("[");
        return (bare ? "[" + host + "]" : host) + ":" + port;
    }
}
