-- Holds ARGV[2] seats of the tier KEYS[1] for ARGV[1], ten minutes long: 1, or 0 when there are too few.
-- Redis runs one script at a time, so nobody comes between. Seats of dead holds come back first.
local now = tonumber(redis.call('TIME')[1])
local due = KEYS[1] .. ':due'
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('INCRBY', KEYS[1], redis.call('HGET', 'hold:' .. dead, 'quantity'))
  redis.call('ZREM', due, dead)
  redis.call('DEL', 'hold:' .. dead)
end
local seats = tonumber(ARGV[2])
if tonumber(redis.call('GET', KEYS[1])) < seats then
  return 0
end
redis.call('DECRBY', KEYS[1], seats)
redis.call('HSET', 'hold:' .. ARGV[1], 'tier', KEYS[1], 'quantity', seats, 'expires_at', now + 600)
redis.call('ZADD', due, now + 600, ARGV[1])
return 1
