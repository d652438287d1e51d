// Sends a message with a client that has a thread of its own, and waits until
// the hub has it.
//
//   c++ -std=c++17 capi/examples/telemetry.cpp -Iout/include -Lout/lib -liothub_client -Wl,-rpath,$PWD/out/lib -o telemetry
//   ./telemetry CONNECTION-STRING [CA-FILE]
#include <cstdio>
#include <fstream>
#include <future>
#include <iterator>
#include <string>

#include "azure_c_shared_utility/shared_util_options.h"
#include "iothub.h"
#include "iothub_device_client.h"
#include "iothubtransportmqtt.h"

using Result = std::promise<IOTHUB_CLIENT_CONFIRMATION_RESULT>;

int main(int argc, char **argv)
{
    if (argc < 2 || IoTHub_Init() != 0) {
        std::fprintf(stderr, "usage: telemetry CONNECTION-STRING [CA-FILE]\n");
        return 2;
    }
    IOTHUB_DEVICE_CLIENT_HANDLE client = IoTHubDeviceClient_CreateFromConnectionString(argv[1], MQTT_Protocol);
    if (client == nullptr) {
        return 1;
    }
    if (argc > 2) {
        std::ifstream file(argv[2]);
        const std::string ca{std::istreambuf_iterator<char>(file), {}};
        if (IoTHubDeviceClient_SetOption(client, OPTION_TRUSTED_CERT, ca.c_str()) != IOTHUB_CLIENT_OK) {
            return 1;
        }
    }
    Result result;
    IOTHUB_MESSAGE_HANDLE message = IoTHubMessage_CreateFromString("{\"temperature\":21}");
    const auto confirm = [](IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context) { static_cast<Result *>(context)->set_value(r); };
    if (IoTHubDeviceClient_SendEventAsync(client, message, confirm, &result) != IOTHUB_CLIENT_OK) {
        return 1;
    }
    IoTHubMessage_Destroy(message);
    const auto r = result.get_future().get();
    std::printf("%s\n", MU_ENUM_TO_STRING(IOTHUB_CLIENT_CONFIRMATION_RESULT, r));
    IoTHubDeviceClient_Destroy(client);
    IoTHub_Deinit();
    return r == IOTHUB_CLIENT_CONFIRMATION_OK ? 0 : 1;
}
