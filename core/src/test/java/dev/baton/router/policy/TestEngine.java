package dev.baton.router.policy;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;

/// An engine whose figures a test sets.
final class TestEngine implements EngineView {
    final EngineAddress address;
    final EngineRole role;
    double weight = 1;
    int inFlight;
    EngineLoad load = EngineLoad.UNKNOWN;

    private TestEngine(String host, EngineRole role) {
        this.address = new EngineAddress(host, 8000);
        this.role = role;
    }

    static TestEngine prefiller(int index) {
        return new TestEngine("p" + index, EngineRole.PREFILLER);
    }

    static TestEngine decoder(int index) {
        return new TestEngine("d" + index, EngineRole.DECODER);
    }

    @Override
    public EngineAddress address() {
        return address;
    }

    @Override
    public EngineRole role() {
        return role;
    }

    @Override
    public double weight() {
        return weight;
    }

    @Override
    public int inFlight() {
        return inFlight;
    }

    @Override
    public EngineLoad load() {
        return load;
    }

    @Override
    public String toString() {
        return address.host();
    }
}
