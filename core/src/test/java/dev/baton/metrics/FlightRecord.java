package dev.baton.metrics;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;

/// A recording of some of Baton's events that runs until it is closed, and can be read meanwhile.
public final class FlightRecord implements AutoCloseable {
    private final Recording recording = new Recording();
    private final Path file;

    /// @param dir for the dumps
    /// @param names of events, without `dev.baton.`
    public FlightRecord(Path dir, String... names) {
        this.file = dir.resolve("events.jfr");
        for (String name : names) {
            recording.enable("dev.baton." + name).withoutThreshold();
        }
        recording.start();
    }

    /// What has happened so far.
    public List<RecordedEvent> events() throws IOException {
        recording.dump(file);
        return RecordingFile.readAllEvents(file);
    }

    /// Those of one name.
    public static List<RecordedEvent> named(Collection<RecordedEvent> events, String name) {
        return events.stream()
                .filter(event -> event.getEventType().getName().equals("dev.baton." + name))
                .toList();
    }

    @Override
    public void close() {
        recording.close();
    }
}
