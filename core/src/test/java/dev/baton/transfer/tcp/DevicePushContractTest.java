package dev.baton.transfer.tcp;

/// The contract with prompts that the decoder's device copies from the prefiller's.
class DevicePushContractTest extends TcpPushContractTest {
    @Override
    protected boolean areOnDevices() {
        return true;
    }
}
