-- Which of the commands of the scripts the user may not run on the keys of the prefix.
--
-- KEYS  one of ours.  Returns the names of the denied commands. A script that is denied a command
-- stops where it is, so this is asked before the first one runs (Redis 7.0 and newer can tell).

local denied = {}
if redis.acl_check_cmd then
  local key = KEYS[1]
  local commands = {
    {'TIME'}, {'GET', key}, {'GETRANGE', key, '0', '15'}, {'SET', key, '', 'PXAT', '1'},
    {'UNLINK', key}, {'EXISTS', key}, {'ZCARD', key}, {'ZADD', key, '0', ''}, {'ZREM', key, ''},
    {'ZRANGEBYSCORE', key, '0', '0'}, {'HGET', key, ''}, {'HMGET', key, ''},
    {'HSET', key, '', ''}, {'HDEL', key, ''}, {'ZRANGE', key, '0', '-1'},
  }
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then denied[#denied + 1] = command[1] end
  end
end
return denied
