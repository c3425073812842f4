// An API of WebSockets by `ws`: it tells the headers it was opened with, then gives back what it gets.
'use strict';

const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 0, perMessageDeflate: true });

server.on('listening', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
  // It ends with its stdin, so that it does not outlive its test.
  process.stdin.resume().on('end', () => process.exit(0));
});

server.on('connection', (socket, request) => {
  const headers = request.rawHeaders;
  socket.send(JSON.stringify(headers.flatMap((name, at) => (at % 2 ? [] : [[name.toLowerCase(), headers[at + 1]]]))));
  socket.on('message', (data, isBinary) => {
    if (!isBinary && data.toString() === 'leave') socket.close(4001, 'as you said');
    else socket.send(data, { binary: isBinary });
  });
});
