package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import dev.baton.discovery.EngineSource;

/// Engines that a test tells of.
final class ChangingEngines implements EngineSource {
    volatile EngineListener listener = new EngineListener() {
        @Override
        public void joined(EngineInfo engine) {}

        @Override
        public void left(EngineAddress address, String why) {}
    };

    @Override
    public void start(EngineListener told) {
        listener = told;
    }

    @Override
    public String description() {
        return "a test";
    }

    @Override
    public void close() {}
}
