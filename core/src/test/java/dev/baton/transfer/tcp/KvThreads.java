package dev.baton.transfer.tcp;

import static org.awaitility.Awaitility.await;

import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/// After each test: every thread of every connector has ended.
final class KvThreads implements AfterEachCallback {
    @Override
    public void afterEach(ExtensionContext context) {
        await("threads left").atMost(Duration.ofSeconds(5)).until(KvThreads::running, List::isEmpty);
    }

    static List<String> running() {
        return Thread.getAllStackTraces().keySet().stream()
                .map(Thread::getName)
                .filter(name -> name.startsWith("baton-kv-"))
                .toList();
    }
}
