// gRPC in JavaScript with plain bytes as messages, as the programs in Python next to it: node peer.js serve,
// node peer.js call HOST:PORT, or node peer.js calls HOST:PORT METHOD MESSAGE ...
const grpc = require('@grpc/grpc-js');

const plain = (bytes) => bytes;
const kind = (name, up, down) => ({
    path: `/test.Echo/${name}`, requestStream: up, responseStream: down,
    requestSerialize: plain, requestDeserialize: plain, responseSerialize: plain, responseDeserialize: plain,
});
const service = {
    Unary: kind('Unary', false, false), Status: kind('Status', false, false), Down: kind('Down', false, true),
    Up: kind('Up', true, false), Both: kind('Both', true, true), Late: kind('Late', false, false),
};

function serve() {
    const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
    server.addService(service, {
        Unary(call, done) {
            const [echo] = call.metadata.get('x-echo'), [binary] = call.metadata.get('x-echo-bin');
            const initial = new grpc.Metadata(), trailing = new grpc.Metadata();
            if (echo) { initial.set('x-echo', echo); call.sendMetadata(initial); }
            if (binary) trailing.set('x-echo-bin', binary);
            done(null, call.request, trailing);
        },
        Status(call, done) {
            const [, code, details] = /^(\d+):([^]*)$/.exec(call.request.toString());
            done({ code: Number(code), details });
        },
        Down(call) {
            const [count, size] = call.request.toString().split('x').map(Number);
            for (let at = 0; at < count; at += 1) call.write(Buffer.alloc(size, at % 251));
            call.end();
        },
        Up(call, done) {
            const sizes = [];
            call.on('data', (message) => sizes.push(message.length));
            call.on('end', () => done(null, Buffer.from(`${sizes.length} ${sizes.reduce((a, b) => a + b, 0)}`)));
        },
        Both(call) {
            call.on('data', (message) => call.write(message));
            call.on('end', () => call.end());
        },
        Late(call) { call.on('cancelled', () => console.log('cancelled')); },
    });
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
        if (error) throw error;
        console.log(port);
    });
    // It ends with the test that started it.
    process.stdin.resume().on('end', () => process.exit(0));
}

const say = (name, ...words) => console.log(name, ...words);
const failed = (error) => `${grpc.status[error.code]} ${error.details}`;

async function call(target) {
    const client = new grpc.Client(target, grpc.credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
    const unary = (method, message, metadata = new grpc.Metadata(), options = {}) => new Promise((resolve, reject) => {
        let initial, answer;
        const sent = client.makeUnaryRequest(`/test.Echo/${method}`, plain, plain, message, metadata, options,
            (error, got) => (error ? reject(error) : (answer = got)));
        sent.on('metadata', (fields) => { initial = fields; });
        sent.on('status', (status) => { if (status.code === 0) resolve({ answer, initial, status }); });
    });
    const metadata = new grpc.Metadata();
    metadata.set('x-echo', 'plain');
    metadata.set('x-echo-bin', Buffer.from([0, 255]));
    const echo = await unary('Unary', Buffer.from('hello'), metadata);
    say('echo', echo.answer.toString(), echo.initial.get('x-echo')[0], echo.status.metadata.get('x-echo-bin')[0].toString('hex'));
    for (const size of [0, 1, 16379, 65531, 1 << 20]) {
        const { answer } = await unary('Unary', Buffer.alloc(size, 'x'));
        say('size', size, answer.equals(Buffer.alloc(size, 'x')));
    }
    const down = await new Promise((resolve, reject) => {
        const sizes = [];
        const stream = client.makeServerStreamRequest('/test.Echo/Down', plain, plain, Buffer.from('500x700'));
        stream.on('data', (message) => sizes.push(message.length)).on('error', reject);
        stream.on('end', () => resolve([sizes.length, sizes.reduce((a, b) => a + b, 0)]));
    });
    say('down', ...down);
    const up = await new Promise((resolve, reject) => {
        const stream = client.makeClientStreamRequest('/test.Echo/Up', plain, plain,
            (error, answer) => (error ? reject(error) : resolve(answer.toString())));
        for (const size of [1, 0, 20000, 300000]) stream.write(Buffer.alloc(size, 'y'));
        stream.end();
    });
    say('up', up);
    const both = await new Promise((resolve, reject) => {
        const stream = client.makeBidiStreamRequest('/test.Echo/Both', plain, plain);
        let at = 0;
        stream.on('data', (message) => {
            if (message.toString() !== String(at)) reject(new Error(`${message} for ${at}`));
            at += 1;
            if (at < 50) stream.write(Buffer.from(String(at))); else stream.end();
        }).on('error', reject).on('end', () => resolve(at));
        stream.write(Buffer.from('0'));
    });
    say('both', both);
    for (let code = 1; code <= 16; code += 1) {
        say('status', code, await unary('Status', Buffer.from(`${code}:100 % of \u00fc\n`)).catch(failed));
    }
    const soon = { deadline: Date.now() + 300 };
    const late = await unary('Late', Buffer.from(''), new grpc.Metadata(), soon).catch((error) => grpc.status[error.code]);
    say('deadline', late);
    client.close();
}

async function calls(target, ...pairs) {
    const client = new grpc.Client(target, grpc.credentials.createInsecure());
    for (let at = 0; at < pairs.length; at += 2) {
        await new Promise((resolve) => {
            const message = Buffer.from(pairs[at + 1]);
            const stream = client.makeServerStreamRequest(`/test.Echo/${pairs[at]}`, plain, plain, message);
            stream.on('data', (answer) => say('message', answer.length));
            stream.on('error', () => {});
            stream.on('status', (status) => {
                say(status.code === 0 ? 'OK' : failed(status));
                resolve();
            });
        });
    }
    client.close();
}

const [, , what, ...rest] = process.argv;
({ serve, call, calls })[what](...rest);
