package dev.baton.transfer.tcp;

class SharedMemoryContractTest extends TcpContractTest {
    @Override
    protected boolean sharesMemory() {
        return true;
    }
}
