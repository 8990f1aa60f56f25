package dev.baton.router.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.awaitility.Awaitility.await;

import dev.baton.http.HttpException;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpSender;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What LMCache's prefillers announce, over real sockets.
@Timeout(30)
class AnnouncementsTest {
    private static void awaitTimes(AtomicInteger heard, int times) {
        await().atMost(Duration.ofSeconds(10)).until(() -> heard.get() == times);
    }

    private static byte[] notification(String type, String id) {
        return MsgPack.write(Map.of("type", type, "req_id", id));
    }

    @Test
    void everyRankOfAPrefillerHasToNotify() throws IOException {
        AtomicInteger heard = new AtomicInteger();
        try (ProxyNotifications notifications = ProxyNotifications.listen("127.0.0.1", 0);
                ZmtpSender rank0 = push(notifications.port());
                ZmtpSender rank1 = push(notifications.port())) {
            notifications.expect("1", 2, heard::incrementAndGet);
            notifications.expect("other", 1, () -> heard.addAndGet(100));
            // as LMCache's msgspec writes it
            rank0.send(HexFormat.of().parseHex("82a474797065aa50726f78794e6f746966a67265715f6964a131"));
            notifications.expect("barrier", 1, heard::incrementAndGet);
            rank0.send(notification("ProxyNotif", "barrier"));
            awaitTimes(heard, 1); // one of two is not enough
            rank1.send(notification("NixlProxyNotif", "1"));
            awaitTimes(heard, 2);
        }
    }

    @Test
    void whatIsNoNotificationIsDropped() throws IOException {
        AtomicInteger heard = new AtomicInteger();
        try (ProxyNotifications notifications = ProxyNotifications.listen("localhost", 0);
                ZmtpSender prefiller = push(notifications.port());
                ZmtpSender flood = push(notifications.port())) {
            notifications.expect("1", 1, heard::incrementAndGet);
            prefiller.send("not MessagePack".getBytes(StandardCharsets.UTF_8));
            prefiller.send(new byte[0]);
            prefiller.send(notification("AllocRequest", "1"));
            prefiller.send(notification("ProxyNotif", "nobody waits for it"));
            flood.send(new byte[1 << 20]); // its connection is closed, the others stay
            prefiller.send(notification("ProxyNotif", "1"));
            awaitTimes(heard, 1);
        }
    }

    @Test
    void whoStopsWaitingIsNotTold() throws IOException {
        AtomicInteger heard = new AtomicInteger();
        try (ProxyNotifications notifications = ProxyNotifications.listen("127.0.0.1", 0);
                ZmtpSender prefiller = push(notifications.port())) {
            notifications.expect("1", 1, () -> heard.addAndGet(100)).close();
            notifications.expect("2", 1, heard::incrementAndGet);
            prefiller.send(notification("ProxyNotif", "1"));
            prefiller.send(notification("ProxyNotif", "2"));
            awaitTimes(heard, 1);
        }
    }

    private static ZmtpSender push(int port) {
        return new ZmtpSender(Zmtp.SocketType.PUSH, new byte[0], "127.0.0.1", port, Duration.ofSeconds(5));
    }

    @Test
    void aPortInUseIsSaidInOneSentence() {
        try (ProxyNotifications first = ProxyNotifications.listen("127.0.0.1", 0)) {
            assertThatExceptionOfType(HttpException.class)
                    .isThrownBy(() -> ProxyNotifications.listen("127.0.0.1", first.port()))
                    .withMessageContaining("cannot listen for LMCache's notifications on 127.0.0.1:" + first.port())
                    .withMessageContaining("in use");
        }
    }

    @Test
    void telemetryTellsWhatIsStored() throws IOException, InterruptedException {
        AtomicInteger heard = new AtomicInteger();
        try (StoreTelemetry telemetry = StoreTelemetry.listen("127.0.0.1", 0);
                HttpClient client = HttpClient.newHttpClient()) {
            telemetry.expect("0123456789abcdef", 1, heard::incrementAndGet);
            telemetry.expect("fedcba9876543210", 1, heard::incrementAndGet);
            assertThat(post(client, telemetry, "{\"event\":\"other\",\"request_ids_set\":[\"0123456789abcdef\"]}"))
                    .isEqualTo("{\"status\":\"ok\",\"notified\":0,\"total\":1}");
            assertThat(heard).hasValue(0);
            assertThat(post(
                            client,
                            telemetry,
                            "{\"event\":\"request_store_finished\",\"request_ids_set\":[\"cmpl-0123456789abcdef-0-89abcdef\","
                                    + "\"nobody's\"],\"model_name\":\"m\",\"world_size\":1,\"kv_rank\":0}"))
                    .isEqualTo("{\"status\":\"ok\",\"notified\":1,\"total\":2}");
            assertThat(heard).hasValue(1);
        }
    }

    private static String post(HttpClient client, StoreTelemetry telemetry, String body)
            throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(
                        URI.create("http://127.0.0.1:" + telemetry.port() + "/api/v1/telemetry"))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    @ParameterizedTest
    @CsvSource({
        "cmpl-0123456789abcdef-0-89abcdef, 0123456789abcdef", // vLLM 0.22 and later
        "cmpl-0123456789abcdef-0, 0123456789abcdef",
        "chatcmpl-0123456789abcdef-89abcdef, 0123456789abcdef",
        "chatcmpl-0123456789abcdef, 0123456789abcdef",
        "0123456789abcdef, 0123456789abcdef",
    })
    void engineIdsHoldTheRoutersId(String engineId, String id) {
        assertThat(StoreTelemetry.requestId(engineId)).contains(id);
    }
}
