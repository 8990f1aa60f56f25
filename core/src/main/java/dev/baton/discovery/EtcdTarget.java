package dev.baton.discovery;

import java.util.Arrays;
import java.util.List;

/// Where engines stand in etcd: `etcd://host:2379,host2:2379/prefix`. Immutable and thread-safe.
///
/// @param endpoints members of the cluster, tried in turn
/// @param prefix what the engines' keys begin with; begins and ends with `/`
record EtcdTarget(List<EngineAddress> endpoints, String prefix) {
    static final String SCHEME = "etcd://";
    private static final String DEFAULT_PREFIX = "/baton/engines/";

    /// @throws DiscoveryException if the text is no such target
    static EtcdTarget parse(String text) {
        if (!text.startsWith(SCHEME)) {
            throw new DiscoveryException("'" + text + "' does not begin with " + SCHEME);
        }
        String rest = text.substring(SCHEME.length());
        int slash = rest.indexOf('/');
        String path = slash < 0 ? "" : rest.substring(slash);
        try {
            List<EngineAddress> endpoints = Arrays.stream((slash < 0 ? rest : rest.substring(0, slash)).split(",", -1))
                    .map(EngineAddress::parse)
                    .toList();
            String prefix = path.length() <= 1 ? DEFAULT_PREFIX : path.endsWith("/") ? path : path + "/";
            return new EtcdTarget(endpoints, prefix);
        } catch (DiscoveryException e) {
            throw new DiscoveryException(
                    "'" + text + "' is not etcd://host:2379[,host:2379]/prefix: " + e.getMessage());
        }
    }

    @Override
    public String toString() {
        return "etcd " + endpoints + " under " + prefix;
    }
}
