package dev.baton.launch;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.UnknownHostException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Looks, before anything is started, whether every role can have its port.
final class Ports {
    private Ports() {}

    /// @throws LaunchException naming the port, the role that needs it, and the flag that changes it
    static void check(List<Role> roles) {
        Map<Integer, Role> taken = new HashMap<>();
        for (Role role : roles) {
            Role other = taken.putIfAbsent(role.port(), role);
            if (other != null) {
                throw new LaunchException("%s and %s would both listen on port %d: change %s or %s."
                        .formatted(other.name(), role.name(), role.port(), other.portFlag(), role.portFlag()));
            }
            checkFree(role);
        }
    }

    private static void checkFree(Role role) {
        InetAddress address;
        try {
            address = InetAddress.getByName(role.host());
        } catch (UnknownHostException e) {
            throw new LaunchException(
                    "%s cannot listen on %s: no such host; change --host.".formatted(role.name(), role.host()), e);
        }
        try (ServerSocket socket = new ServerSocket()) {
            socket.bind(new InetSocketAddress(address, role.port()));
        } catch (IOException e) {
            throw new LaunchException(
                    "Port %d, which %s needs, cannot be had (%s): stop what listens there or pass another %s."
                            .formatted(role.port(), role.name(), e.getMessage(), role.portFlag()),
                    e);
        }
    }
}
