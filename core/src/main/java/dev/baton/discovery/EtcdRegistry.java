package dev.baton.discovery;

import java.time.Duration;

/// Registers under a key of etcd with a lease.
final class EtcdRegistry implements Registry {
    private final EtcdTarget target;
    private final EngineInfo engine;
    private final Duration timeToLive;
    private final EtcdClient client;
    /// Empty while there is none.
    private String lease = "";

    EtcdRegistry(EtcdTarget target, EngineInfo engine, Duration timeToLive) {
        this.target = target;
        this.engine = engine;
        this.timeToLive = timeToLive;
        client = new EtcdClient(target);
    }

    @Override
    public void announce() throws InterruptedException {
        if (lease.isEmpty() || !client.keepAlive(lease)) {
            lease = client.grant(timeToLive);
            try {
                client.put(EtcdEngines.key(target, engine), EtcdEngines.value(engine), lease);
            } catch (DiscoveryException e) {
                lease = ""; // it may be without its key, and runs out by itself
                throw e;
            }
        }
    }

    @Override
    public void withdraw() throws InterruptedException {
        if (!lease.isEmpty()) {
            client.revoke(lease);
            lease = "";
        }
    }

    @Override
    public void close() {
        client.close();
    }
}
