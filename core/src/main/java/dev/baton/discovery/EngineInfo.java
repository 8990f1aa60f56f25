package dev.baton.discovery;

/// One engine of a fleet, as whoever found it describes it. Immutable and thread-safe.
///
/// @param address where its HTTP server listens; an engine is known by it
/// @param role what it does
/// @param weight its share of the traffic against others of its role, over 0; 1 is usual
/// @param endpoint where its KV connector listens, for hand-overs that have to name it
public record EngineInfo(EngineAddress address, EngineRole role, double weight, ConnectorEndpoint endpoint) {
    /// @throws DiscoveryException if the weight is not over 0 or not finite
    public EngineInfo {
        if (!(weight > 0) || Double.isInfinite(weight)) {
            throw new DiscoveryException("the weight of " + address + " is " + weight + ", needed is a number over 0");
        }
    }

    /// An engine of weight 1 whose connector needs no naming.
    public static EngineInfo of(EngineAddress address, EngineRole role) {
        return new EngineInfo(address, role, 1, new ConnectorEndpoint.Unnamed());
    }

    public EngineInfo withRole(EngineRole changed) {
        return new EngineInfo(address, changed, weight, endpoint);
    }

    public EngineInfo withWeight(double changed) {
        return new EngineInfo(address, role, changed, endpoint);
    }

    public EngineInfo withEndpoint(ConnectorEndpoint changed) {
        return new EngineInfo(address, role, weight, changed);
    }
}
