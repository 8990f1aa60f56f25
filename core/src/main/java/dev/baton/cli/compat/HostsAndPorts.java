package dev.baton.cli.compat;

import dev.baton.discovery.EngineAddress;
import java.util.ArrayList;
import java.util.List;

/// How proxies pair lists of hosts with lists of ports.
final class HostsAndPorts {
    private HostsAndPorts() {}

    /// One host and one port with a count are that many ports in a row; a single host or port goes with all of the
    /// others; two lists are paired in their order.
    ///
    /// @param what the flags' prefix, for messages
    /// @throws IllegalArgumentException if two lists differ in length
    static List<EngineAddress> spread(String what, List<String> hosts, List<Integer> ports, int count) {
        List<EngineAddress> engines = new ArrayList<>();
        if (hosts.size() == 1 && ports.size() == 1) {
            for (int i = 0; i < Math.max(1, count); i++) {
                engines.add(new EngineAddress(hosts.getFirst(), ports.getFirst() + i));
            }
            return engines;
        }
        if (hosts.size() != 1 && ports.size() != 1) {
            return paired(what, hosts, ports);
        }
        for (int i = 0; i < Math.max(hosts.size(), ports.size()); i++) {
            engines.add(new EngineAddress(
                    hosts.get(Math.min(i, hosts.size() - 1)), ports.get(Math.min(i, ports.size() - 1))));
        }
        return engines;
    }

    /// The first host with the first port, and so on.
    ///
    /// @throws IllegalArgumentException if the lists differ in length
    static List<EngineAddress> paired(String what, List<String> hosts, List<Integer> ports) {
        if (hosts.size() != ports.size()) {
            throw new IllegalArgumentException("there are %d %s hosts and %d %s ports: each host needs its port"
                    .formatted(hosts.size(), what, ports.size(), what));
        }
        List<EngineAddress> engines = new ArrayList<>();
        for (int i = 0; i < hosts.size(); i++) {
            engines.add(new EngineAddress(hosts.get(i), ports.get(i)));
        }
        return engines;
    }
}
