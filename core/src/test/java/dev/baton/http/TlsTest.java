package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(120)
class TlsTest {
    @TempDir
    private static Path folder;

    private static Certificates ours;
    private static Certificates others;
    private static ServerTls tls;
    private static HttpRuntime runtime;

    @BeforeAll
    static void makeCertificates() throws Exception {
        ours = new Certificates(folder, "ours");
        others = new Certificates(folder, "others");
        tls = ServerTls.of(ours.make("server"), ours.key("server"));
        ours.make("client");
        others.make("client");
        runtime = HttpRuntime.start(2);
    }

    @AfterAll
    static void close() {
        runtime.close();
    }

    private static HttpServer serve(ServerTls how) {
        HttpServerConfig config =
                HttpServerConfig.builder("127.0.0.1", 0).tls(Optional.of(how)).build();
        return runtime.serve(config, exchange -> exchange.respondText(200, "secret"));
    }

    private static HttpClient trusting(Certificates authority, Optional<Certificates> own) {
        ClientTls client = new ClientTls(
                Optional.of(authority.authority()),
                own.map(by -> by.key("client").resolveSibling("client.pem")),
                own.map(by -> by.key("client")));
        return runtime.client(new HttpClientConfig(Duration.ofSeconds(5), Duration.ofSeconds(5), 10, client));
    }

    private static String get(HttpClient client, HttpServer server) throws Exception {
        URI target = URI.create("https://127.0.0.1:" + server.port() + "/");
        return client.exchange(HttpClientRequest.get(target, Duration.ofSeconds(20)), 1000)
                .get(30, TimeUnit.SECONDS)
                .text();
    }

    private static void assertRefused(HttpClient client, HttpServer server) {
        assertThatThrownBy(() -> get(client, server))
                .isInstanceOf(ExecutionException.class)
                .hasCauseInstanceOf(HttpException.class);
    }

    @Test
    void clientThatTrustsTheAuthorityIsServedOnEveryLoopAndOthersSeeNothing() throws Exception {
        try (HttpServer server = serve(tls)) {
            for (int i = 0; i < 4; i++) {
                try (HttpClient client = trusting(ours, Optional.empty())) {
                    assertThat(get(client, server)).isEqualTo("secret");
                }
            }
            try (HttpClient client = trusting(others, Optional.empty());
                    HttpClient jdks = runtime.client(HttpClientConfig.defaults())) {
                assertRefused(client, server);
                assertRefused(jdks, server);
            }
        }
    }

    @Test
    void plainTextIsNoRequest() throws Exception {
        try (HttpServer server = serve(tls);
                Socket socket = new Socket("127.0.0.1", server.port())) {
            socket.setSoTimeout(10_000);
            socket.getOutputStream().write("GET / HTTP/1.1\r\nHost: x\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            String answer;
            try {
                answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
            } catch (IOException e) {
                answer = "reset";
            }
            assertThat(answer).doesNotContain("secret").doesNotContain("HTTP/1.1 200");
        }
    }

    @Test
    void clientsShowCertificatesWhereTheyMust() throws Exception {
        ServerTls mutual =
                new ServerTls(tls.certificate(), tls.key(), Optional.of(ours.authority()), ServerTls.Clients.REQUIRED);
        try (HttpServer server = serve(mutual);
                HttpClient known = trusting(ours, Optional.of(ours));
                HttpClient nameless = trusting(ours, Optional.empty());
                HttpClient stranger = trusting(ours, Optional.of(others))) {
            assertThat(get(known, server)).isEqualTo("secret");
            assertRefused(nameless, server);
            assertRefused(stranger, server);
        }
    }

    @Test
    void changedCertificateIsShownWithoutARestartAndABrokenOneIsNot() throws Exception {
        Path certificate = ours.make("rotated");
        try (HttpServer server = serve(ServerTls.of(certificate, ours.key("rotated")))) {
            X509Certificate first = shown(server);
            assertThat(shown(server)).isEqualTo(first);
            ours.make("rotated");
            await().atMost(Duration.ofSeconds(30))
                    .untilAsserted(() -> assertThat(shown(server)).isNotEqualTo(first));
            X509Certificate second = shown(server);
            Files.writeString(certificate, "no certificate");
            Thread.sleep(2_500);
            assertThat(shown(server)).isEqualTo(second);
        }
    }

    private static X509Certificate shown(HttpServer server) throws Exception {
        javax.net.ssl.SSLContext trusting = javax.net.ssl.SSLContext.getInstance("TLS");
        java.security.KeyStore store = java.security.KeyStore.getInstance(java.security.KeyStore.getDefaultType());
        store.load(null);
        java.security.cert.CertificateFactory factory = java.security.cert.CertificateFactory.getInstance("X.509");
        try (java.io.InputStream in = Files.newInputStream(ours.authority())) {
            store.setCertificateEntry("ca", factory.generateCertificate(in));
        }
        javax.net.ssl.TrustManagerFactory trust = javax.net.ssl.TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        trusting.init(null, trust.getTrustManagers(), null);
        try (javax.net.ssl.SSLSocket socket =
                (javax.net.ssl.SSLSocket) trusting.getSocketFactory().createSocket("127.0.0.1", server.port())) {
            socket.startHandshake();
            return (X509Certificate) socket.getSession().getPeerCertificates()[0];
        }
    }

    @Test
    void filesThatCannotBeUsedAreNamed() throws Exception {
        Path nothing = folder.resolve("absent.pem");
        assertThatThrownBy(() -> serve(ServerTls.of(nothing, tls.key())))
                .isInstanceOf(HttpException.class)
                .hasMessageContaining("absent.pem");
        Path wrong = Files.writeString(folder.resolve("wrong.pem"), "nothing of the kind");
        assertThatThrownBy(() -> serve(ServerTls.of(wrong, tls.key())))
                .isInstanceOf(HttpException.class)
                .hasMessageContaining("wrong.pem");
        assertThatThrownBy(
                        () -> new ServerTls(tls.certificate(), tls.key(), Optional.empty(), ServerTls.Clients.REQUIRED))
                .isInstanceOf(HttpException.class);
    }
}
