package dev.baton.discovery;

import static org.awaitility.Awaitility.await;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Predicate;

/// What a source has reported: the fleet as it is, and everything in order.
public final class FleetRecorder implements EngineListener {
    private final Map<EngineAddress, EngineInfo> fleet = new ConcurrentHashMap<>();
    private final Queue<String> events = new ConcurrentLinkedQueue<>();

    @Override
    public void joined(EngineInfo engine) {
        events.add("+" + engine.address()); // first: tests wait for the fleet, then look here
        fleet.put(engine.address(), engine);
    }

    @Override
    public void left(EngineAddress address, String why) {
        events.add((fleet.containsKey(address) ? "-" : "?") + address);
        fleet.remove(address);
    }

    List<String> events() {
        return List.copyOf(events);
    }

    List<EngineInfo> engines() {
        return List.copyOf(fleet.values());
    }

    EngineInfo engine(String address) {
        return fleet.get(EngineAddress.parse(address));
    }

    public List<String> addresses() {
        return fleet.keySet().stream().map(EngineAddress::toString).sorted().toList();
    }

    public void awaitFleet(String... addresses) {
        awaitThat(recorder -> recorder.addresses().equals(List.of(addresses)));
    }

    void awaitThat(Predicate<FleetRecorder> condition) {
        await().atMost(Duration.ofSeconds(20))
                .pollDelay(Duration.ZERO)
                .pollInterval(Duration.ofMillis(10))
                .until(() -> condition.test(this));
    }
}
