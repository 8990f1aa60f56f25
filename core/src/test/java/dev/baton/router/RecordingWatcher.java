package dev.baton.router;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/// Keeps what it is told of engines.
final class RecordingWatcher implements EnginePool.Watcher {
    final List<Upstream> probed = new CopyOnWriteArrayList<>();
    final List<Upstream> emptied = new CopyOnWriteArrayList<>();
    final List<Upstream> gone = new CopyOnWriteArrayList<>();
    final List<Upstream> forgotten = new CopyOnWriteArrayList<>();

    @Override
    public void probeNow(Upstream engine) {
        probed.add(engine);
    }

    @Override
    public void cameBackEmpty(Upstream engine) {
        emptied.add(engine);
    }

    @Override
    public void gone(Upstream engine) {
        gone.add(engine);
    }

    @Override
    public void forgotten(Upstream engine) {
        forgotten.add(engine);
    }
}
