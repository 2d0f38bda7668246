// Calls by gRPC-Web, one after the other: node web.js URL METHOD MESSAGE ... Prints the answers, and each status with its details,
// in base64 by grpc-web and in binary form by @improbable-eng/grpc-web.
global.XMLHttpRequest = require('xmlhttprequest').XMLHttpRequest;
const web = require('grpc-web');
const { grpc } = require('@improbable-eng/grpc-web');
const { NodeHttpTransport } = require('@improbable-eng/grpc-web-node-http-transport');

const plain = (bytes) => bytes;

function inText(url, method, message) {
    const kind = new web.MethodDescriptor(
        `/test.Echo/${method}`, web.MethodType.SERVER_STREAMING, Uint8Array, Uint8Array, plain, plain);
    const client = new web.GrpcWebClientBase({ format: 'text' });
    return new Promise((resolve) => {
        const stream = client.serverStreaming(`${url}/test.Echo/${method}`, message, {}, kind);
        stream.on('data', (bytes) => console.log('message', bytes.length));
        stream.on('status', (status) => { if (status.code === 0) console.log('OK'); });
        stream.on('error', (error) => { console.log(grpc.Code[error.code], error.message); resolve(); });
        stream.on('end', resolve);
    });
}

function inBinary(url, method, message) {
    const request = { serializeBinary: () => message };
    const kind = {
        methodName: method, service: { serviceName: 'test.Echo' }, requestStream: false, responseStream: true,
        requestType: { deserializeBinary: plain }, responseType: { deserializeBinary: plain },
    };
    return new Promise((resolve) => grpc.invoke(kind, {
        host: url, request, transport: NodeHttpTransport(),
        onMessage: (bytes) => console.log('message', bytes.length),
        onEnd: (code, details) => { console.log(code === 0 ? 'OK' : `${grpc.Code[code]} ${details}`); resolve(); },
    }));
}

async function all(url, calls) {
    for (const call of [inText, inBinary]) {
        for (let at = 0; at < calls.length; at += 2) await call(url, calls[at], new TextEncoder().encode(calls[at + 1]));
    }
}
all(...[process.argv[2], process.argv.slice(3)]);
