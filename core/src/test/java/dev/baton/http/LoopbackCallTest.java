package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(10)
class LoopbackCallTest {
    @Test
    void aServerThatOwesAnAnswerIsNotWaitedForWithoutEnd() throws IOException {
        try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            LoopbackCall call = LoopbackCall.post("/", Map.of(), Map.of());
            assertThatThrownBy(() -> call.send(silent.getLocalPort(), Duration.ofMillis(50)))
                    .isInstanceOf(SocketTimeoutException.class);
        }
    }
}
