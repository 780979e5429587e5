package com.example.attokit

import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

/** Runs a file of `attokit export --input-type uint8 --output-type float32` in LiteRT alone. */
class Network(context: Context, private val classes: Int) : AutoCloseable {
    private val interpreter = context.assets.openFd("model.tflite").use { file ->
        Interpreter(
            file.createInputStream().channel.map(
                FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength
            )
        )
    }

    /** @param pixels rows of red, green and blue bytes, as large as the network wants them */
    fun logits(pixels: ByteArray): FloatArray {
        val input = ByteBuffer.allocateDirect(pixels.size).order(ByteOrder.nativeOrder())
        input.put(pixels).rewind()
        val output = Array(1) { FloatArray(classes) }
        interpreter.run(input, output)
        return output[0]
    }

    override fun close() = interpreter.close()
}
