package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Nagle's algorithm together with delayed acknowledgements holds small writes back for 40 ms: on no connection of
/// the router does it.
@Timeout(60)
class NoDelayTest {
    private static final int EVENTS = 60;

    @Test
    void eventsPassWithoutWaitingForAcknowledgements() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                for (int i = 0; i < EVENTS; i++) {
                    call.event("{\"at\":" + System.nanoTime() + "}");
                    Fleet.pause(Duration.ofMillis(5));
                }
                call.event("[DONE]");
                call.endEvents();
            };
            List<Passage> passages = new ArrayList<>(); // a machine with other work is late now and then
            do {
                passages.add(passage(fleet));
            } while (!passages.getLast().isPrompt() && passages.size() < 10);
            assertThat(passages).last().as("the last of %s", passages).matches(Passage::isPrompt);
        }
    }

    /// How a stream passed, in milliseconds.
    private record Passage(double headersToData, double medianDelay) {
        boolean isPrompt() {
            return headersToData < 20 && medianDelay < 20;
        }
    }

    private static Passage passage(Fleet fleet) throws IOException {
        List<Double> delays = new ArrayList<>();
        double headersToData = Double.NaN;
        try (Socket socket = fleet.startRaw("{\"prompt\":\"p\",\"max_tokens\":2,\"stream\":true}")) {
            BufferedReader lines =
                    new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
            long headersNanos = 0;
            for (String line = lines.readLine(); !line.contains("[DONE]"); line = lines.readLine()) {
                long now = System.nanoTime();
                if (line.isEmpty() && headersNanos == 0) {
                    headersNanos = now;
                } else if (line.startsWith("data: ")) {
                    if (delays.isEmpty()) {
                        headersToData = (now - headersNanos) / 1e6;
                    }
                    long sent = Long.parseLong(line.replaceAll("\\D", ""));
                    delays.add((now - sent) / 1e6);
                }
            }
        }
        double[] sorted =
                delays.stream().mapToDouble(Double::doubleValue).sorted().toArray();
        assertThat(sorted).hasSize(EVENTS);
        return new Passage(headersToData, TtftStats.percentile(sorted, 50));
    }
}
